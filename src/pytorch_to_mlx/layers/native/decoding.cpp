// A few more positions of a transformer decoder, through all its layers at once (components/decoder/step.py).
//
// A step reads every weight once and computes next to nothing with it. So each thread reads its share of each matrix at
// the memory's speed, and all else stays in the caches; they meet four times a layer, six with cross-attention.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <exception>
#include <thread>
#include <vector>

#include "vectors.h"

namespace {

struct Affine { const float *weight, *bias; };  // the bias may be missing

// In the order of components/decoder/step.py, as a row of its table of pointers.
struct Layer {
    Affine attention_norm, qkv, attention_output, mlp_norm, inward, outward;
    Affine cross_norm, cross_query, cross_output;    // missing without a memory
    const float *q_norm, *k_norm;                    // may be missing
    float *keys, *values;                            // (batch, kv heads, room, depth)
    const float *remembered_keys, *remembered_values;  // (sources, heads, remembered, depth)
};

static_assert(sizeof(Layer) == 24 * sizeof(void*), "a row of 24 pointers");

struct Sizes {
    int64_t threads, layers, batch, positions, hidden, inner, heads, kv_heads, depth;
    int64_t past, room;             // positions in the cache, and how many it has room for
    int64_t sources, remembered;    // of the memory, and each one's positions; 0 without
    int64_t centred, gated, exact;  // layer norm instead of RMS norm, SwiGLU instead of GELU, GELU not approximated
    float epsilon;
};

struct Span { int64_t first, last; };

Span share(int64_t count, int64_t of, int64_t which) { return {count * which / of, count * (which + 1) / of}; }

// Leaves the core to its other half for a moment.
inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Where threads wait for each other. They spin, since the others come within microseconds.
class Meeting {
  public:
    explicit Meeting(int64_t threads) : threads_(threads) {}

    void wait() {
        const int64_t round = round_.load();
        if (arrived_.fetch_add(1) + 1 == threads_) {
            arrived_.store(0);
            round_.store(round + 1);
            return;
        }
        for (int spins = 0; round_.load() == round; ++spins) spins < 4000 ? pause() : std::this_thread::yield();
    }

  private:
    const int64_t threads_;
    std::atomic<int64_t> arrived_{0}, round_{0};
};

float dot(const float* a, const float* b, int64_t count) {
    vec sums = {};
    int64_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH) sums += load(a + i) * load(b + i);
    float total = sum(sums);
    for (; i < count; ++i) total += a[i] * b[i];
    return total;
}

// To mean 0, if centred, and mean square 1; `from` and `to` may be the same.
void normalise(const float* from, float* to, int64_t count, Affine affine, bool centred, float epsilon) {
    float mean = 0;
    if (centred) {
        for (int64_t i = 0; i < count; ++i) mean += from[i];
        mean /= count;
    }
    for (int64_t i = 0; i < count; ++i) to[i] = from[i] - mean;
    const float scale = 1 / std::sqrt(dot(to, to, count) / count + epsilon);
    for (int64_t i = 0; i < count; ++i) to[i] = to[i] * scale * affine.weight[i] + (affine.bias ? affine.bias[i] : 0);
}

// The product of N rows of a matrix, read side by side, with B vectors.
template <int N, int B, typename Take>
void rows(Affine linear, int64_t row, int64_t count, const float* x, Take take) {
    const float* weight = linear.weight + row * count;
    vec sums[N][B] = {};
    int64_t j = 0;
    for (; j + WIDTH <= count; j += WIDTH)
        for (int n = 0; n < N; ++n) {
            const vec w = load(weight + n * count + j);
            for (int b = 0; b < B; ++b) sums[n][b] += w * load(x + b * count + j);
            __builtin_prefetch(weight + (n + N) * count + j);
        }
    for (int n = 0; n < N; ++n)
        for (int b = 0; b < B; ++b) {
            float y = linear.bias ? linear.bias[row + n] : 0;
            for (int64_t i = j; i < count; ++i) y += weight[n * count + i] * x[b * count + i];
            take(b, row + n, y + sum(sums[n][b]));
        }
}

// take(b, row, weight[row] . x[b] + bias[row]) for a span of the rows: as many side by side as there are registers for.
template <int B, typename Take>
void multiply(Affine linear, Span span, int64_t count, const float* x, Take take) {
    constexpr int N = B <= (WIDTH == 16 ? 6 : 2) ? 4 : 2;  // of 32 registers, or 16
    int64_t row = span.first;
    for (; row + N <= span.last; row += N) rows<N, B>(linear, row, count, x, take);
    for (; row < span.last; ++row) rows<1, B>(linear, row, count, x, take);
}

// to = sum over j of weights[j] values[j], for N vectors of each of the values.
template <int N>
void mix(const float* weights, const float* values, int64_t count, int64_t depth, float* to) {
    vec sums[N] = {};
    for (int64_t j = 0; j < count; ++j)
        for (int n = 0; n < N; ++n) sums[n] += weights[j] * load(values + j * depth + n * WIDTH);
    for (int n = 0; n < N; ++n) store(to + n * WIDTH, sums[n]);
}

// B vectors: `positions` of each sequence of the batch.
template <int B>
class Step {
  public:
    Step(const Sizes& sizes, const Layer* layers, const float* cosine, const float* sine, const int64_t* padding,
         float* const* watched, float* x)
        : s(sizes), layers_(layers), cosine_(cosine), sine_(sine), padding_(padding), watched_(watched), x_(x),
          meeting_(sizes.threads),
          heads_(s.heads + 2 * s.kv_heads), qkv_(B * heads_ * s.depth), attended_(B * s.heads * s.depth),
          gate_(s.gated * B * s.inner), inner_(B * s.inner), normed_(s.threads * B * s.hidden),
          most_(std::max(s.past + s.positions, s.remembered) + WIDTH), scores_(s.threads * most_) {}

    void run(int64_t thread) {
        float* normed = normed_.data() + thread * B * s.hidden;  // each computes all of it, so as not to wait
        float* scores = scores_.data() + thread * most_;
        const Span kv_heads = share(s.kv_heads, s.threads, thread), heads = share(s.heads, s.threads, thread), inner = share(s.inner, s.threads, thread),
                   hidden = share(s.hidden, s.threads, thread);
        for (int64_t n = 0; n < s.layers; ++n) {
            const Layer& layer = layers_[n];
            norm(layer.attention_norm, normed);
            project(layer.qkv, kv_heads, normed);
            for (int b = 0; b < B; ++b)
                for (int64_t head = kv_heads.first; head < kv_heads.last; ++head) attend(n, b, head, scores);
            meeting_.wait();
            add(layer.attention_output, hidden, attended_.data(), s.heads * s.depth);
            meeting_.wait();
            if (s.remembered) {
                norm(layer.cross_norm, normed);
                recall(layer, heads, normed, scores);
                meeting_.wait();
                add(layer.cross_output, hidden, attended_.data(), s.heads * s.depth);
                meeting_.wait();
            }
            norm(layer.mlp_norm, normed);
            feed(layer.inward, inner, normed);
            meeting_.wait();
            add(layer.outward, hidden, inner_.data(), s.inner);
            meeting_.wait();
        }
    }

  private:
    void norm(Affine affine, float* to) const {
        for (int b = 0; b < B; ++b)
            normalise(x_ + b * s.hidden, to + b * s.hidden, s.hidden, affine, s.centred, s.epsilon);
    }

    // Queries, keys and values of some heads.
    void project(Affine qkv, Span kv, const float* normed) {
        const int64_t group = s.heads / s.kv_heads, keys = s.heads, values = s.heads + s.kv_heads;
        for (Span heads : {Span{kv.first * group, kv.last * group}, Span{keys + kv.first, keys + kv.last},
                           Span{values + kv.first, values + kv.last}})
            multiply<B>(qkv, {heads.first * s.depth, heads.last * s.depth}, s.hidden, normed,
                        [&](int b, int64_t row, float y) { qkv_[b * heads_ * s.depth + row] = y; });
    }

    // A key and its value to the cache, and the queries that share them over all that is there: positions in order.
    void attend(int64_t n, int b, int64_t kv_head, float* scores) {
        const Layer& layer = layers_[n];
        const int64_t group = s.heads / s.kv_heads, sequence = b / s.positions, position = b % s.positions;
        const int64_t end = s.past + position, skipped = padding_ ? std::min(padding_[sequence], end) : 0;
        const int64_t count = end + 1 - skipped;
        const auto head = [&](int64_t which) { return qkv_.data() + (b * heads_ + which) * s.depth; };
        float* keys = layer.keys + (sequence * s.kv_heads + kv_head) * s.room * s.depth;
        float* values = layer.values + (sequence * s.kv_heads + kv_head) * s.room * s.depth;
        place(head(s.heads + kv_head), layer.k_norm, position);
        std::memcpy(keys + end * s.depth, head(s.heads + kv_head), s.depth * sizeof(float));
        std::memcpy(values + end * s.depth, head(s.heads + s.kv_heads + kv_head), s.depth * sizeof(float));
        for (int64_t which = kv_head * group; which < (kv_head + 1) * group; ++which) {
            place(head(which), layer.q_norm, position);
            weigh(head(which), keys + skipped * s.depth, count, scores);
            gather(scores, values + skipped * s.depth, count, attended_.data() + (b * s.heads + which) * s.depth);
            if (watched_ && watched_[n * s.heads + which])
                std::copy_n(scores, count, watched_[n * s.heads + which] + b * count);
        }
    }

    // What some heads attend to of the memory.
    void recall(const Layer& layer, Span heads, const float* normed, float* scores) {
        multiply<B>(layer.cross_query, {heads.first * s.depth, heads.last * s.depth}, s.hidden, normed,
                    [&](int b, int64_t row, float y) { qkv_[b * heads_ * s.depth + row] = y; });
        for (int64_t which = heads.first; which < heads.last; ++which)
            for (int b = 0; b < B; ++b) {  // those of one source read it out of the caches
                const int64_t source = b * s.sources / B;
                const int64_t from = (source * s.heads + which) * s.remembered * s.depth;
                weigh(qkv_.data() + (b * heads_ + which) * s.depth, layer.remembered_keys + from, s.remembered, scores);
                gather(scores, layer.remembered_values + from, s.remembered,
                       attended_.data() + (b * s.heads + which) * s.depth);
            }
    }

    // A head's query or key, turned to the position.
    void place(float* head, const float* weight, int64_t position) const {
        if (weight) normalise(head, head, s.depth, {weight, nullptr}, false, s.epsilon);
        if (!cosine_) return;
        const int64_t half = s.depth / 2;
        const float *cosine = cosine_ + position * half, *sine = sine_ + position * half;
        for (int64_t i = 0; i < half; ++i) {
            const float left = head[i], right = head[half + i];
            head[i] = left * cosine[i] - right * sine[i];
            head[half + i] = right * cosine[i] + left * sine[i];
        }
    }

    // weights = softmax(q keys / sqrt(depth)); they have room for a vector more.
    void weigh(const float* q, const float* keys, int64_t count, float* weights) const {
        const float scale = LOG2_E / std::sqrt(float(s.depth));
        float most = -INFINITY;
        for (int64_t j = 0; j < count; ++j) {
            weights[j] = dot(q, keys + j * s.depth, s.depth) * scale;
            most = weights[j] > most ? weights[j] : most;
        }
        std::fill_n(weights + count, WIDTH, -INFINITY);
        vec sums = {};
        for (int64_t j = 0; j < count; j += WIDTH) {
            const vec each = exp2_below_zero(load(weights + j) - most);
            store(weights + j, each);
            sums += each;
        }
        const float total = sum(sums);
        for (int64_t j = 0; j < count; ++j) weights[j] /= total;
    }

    void gather(const float* weights, const float* values, int64_t count, float* to) const {
        int64_t d = 0;
        for (; d + 4 * WIDTH <= s.depth; d += 4 * WIDTH) mix<4>(weights, values + d, count, s.depth, to + d);
        for (; d + WIDTH <= s.depth; d += WIDTH) mix<1>(weights, values + d, count, s.depth, to + d);
        for (; d < s.depth; ++d) {
            to[d] = 0;
            for (int64_t j = 0; j < count; ++j) to[d] += weights[j] * values[j * s.depth + d];
        }
    }

    // A span of what goes inward, activated: silu(gate) * up, or gelu(up).
    void feed(Affine inward, Span span, const float* normed) {
        const int64_t up = s.gated * s.inner;  // the gate's rows come first
        if (s.gated)
            multiply<B>(inward, span, s.hidden, normed,
                        [&](int b, int64_t row, float y) { gate_[b * s.inner + row] = y; });
        multiply<B>(inward, {up + span.first, up + span.last}, s.hidden, normed,
                    [&](int b, int64_t row, float y) { inner_[b * s.inner + row - up] = y; });
        for (int b = 0; b < B; ++b)
            for (int64_t i = span.first; i < span.last; i += WIDTH) {
                const size_t size = std::min<int64_t>(WIDTH, span.last - i) * sizeof(float);
                vec x = {}, gate = {};
                std::memcpy(&x, &inner_[b * s.inner + i], size);
                if (s.gated) {
                    std::memcpy(&gate, &gate_[b * s.inner + i], size);
                    x *= gate * sigmoid(gate);
                } else if (s.exact) {
                    for (int lane = 0; lane < WIDTH; ++lane)
                        x[lane] *= 0.5f * (1 + std::erf(x[lane] * 0.70710678118654752f));
                } else {
                    x *= sigmoid(1.5957691216057308f * (x + 0.044715f * x * x * x));  // 2 sqrt(2 / pi)
                }
                std::memcpy(&inner_[b * s.inner + i], &x, size);
            }
    }

    void add(Affine linear, Span span, const float* from, int64_t count) {
        multiply<B>(linear, span, count, from, [&](int b, int64_t row, float y) { x_[b * s.hidden + row] += y; });
    }

    const Sizes s;
    const Layer* layers_;
    const float *cosine_, *sine_;
    const int64_t* padding_;
    float* const* watched_;
    float* x_;
    Meeting meeting_;
    const int64_t heads_;
    const int64_t most_;
    std::vector<float> qkv_, attended_, gate_, inner_, normed_, scores_;
};

template <int B>
bool run(const Sizes& sizes, const Layer* layers, const float* cosine, const float* sine, const int64_t* padding,
         float* const* watched, float* x) {
    Step<B> step(sizes, layers, cosine, sine, padding, watched, x);
    enum { WAIT, WORK, LEAVE };
    std::atomic<int> word{WAIT};
    std::vector<std::thread> others;
    try {
        for (int64_t n = 1; n < sizes.threads; ++n)
            others.emplace_back([&, n] {
                while (word == WAIT) std::this_thread::yield();
                if (word == WORK) step.run(n);
            });
        word = WORK;
    } catch (const std::exception&) {  // no thread more can be had
        word = LEAVE;
    }
    if (word == WORK) step.run(0);
    for (auto& each : others) each.join();
    return word == WORK;
}

}  // namespace

// Adds to x (batch, positions, hidden), of up to eight vectors, what the layers add, and to the cache the positions' keys
// and values; they attend to the memory where there is one, B / sources vectors to each source. Cosines and sines, (positions, depth / 2) each, are null for no rotation. The first padding[sequence]
// positions of the cache are not attended to; padding may be null. watched[layer * heads + head] is null, or takes the
// head's attention (batch, past + 1) of one position without padding; so may be all of it. Returns 0, or 1 if memory or
// threads are lacking.
extern "C" int decode(const Sizes* sizes, const Layer* layers, const float* cosine, const float* sine,
                      const int64_t* padding, float* const* watched, float* x) {
    constexpr decltype(&run<1>) runs[] = {run<1>, run<2>, run<3>, run<4>, run<5>, run<6>, run<7>, run<8>};
    try {
        return !runs[sizes->batch * sizes->positions - 1](*sizes, layers, cosine, sine, padding, watched, x);
    } catch (const std::exception&) {
        return 1;
    }
}
