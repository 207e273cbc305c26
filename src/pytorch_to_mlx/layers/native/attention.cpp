// Scaled dot-product attention on a CPU, compiled for the machine it runs on (layers/attention.py).
//
// Queries lie side by side in vectors, so that the largest score, the sum and every product are taken lane by lane, and
// the scores of a block of queries stay in the second cache until they have weighed the values.

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "vectors.h"

namespace {

// Rows whose sums stay in registers at once.
constexpr int ROWS = WIDTH == 16 ? 14 : 6;
constexpr int VECTORS = 2, LANES = VECTORS * WIDTH;

struct Block { vec part[VECTORS]; };

// products[i] = sum over j of left[i * row + j * column] right[j], for N rows.
template <int N>
inline __attribute__((always_inline)) void products(
    const float* left, int64_t row, int64_t column, const Block* right, int64_t count, Block* result) {
    vec sums[N][VECTORS] = {};
    for (int64_t j = 0; j < count; ++j)
        for (int i = 0; i < N; ++i)
            for (int part = 0; part < VECTORS; ++part)
                sums[i][part] += left[i * row + j * column] * right[j].part[part];
    for (int i = 0; i < N; ++i)
        for (int part = 0; part < VECTORS; ++part) result[i].part[part] = sums[i][part];
}

void multiply(const float* left, int64_t rows, int64_t row, int64_t column, const Block* right, int64_t count,
              Block* result) {
    int64_t i = 0;
    for (; i + ROWS <= rows; i += ROWS) products<ROWS>(left + i * row, row, column, right, count, result + i);
    for (; i + 4 <= rows; i += 4) products<4>(left + i * row, row, column, right, count, result + i);
    for (; i < rows; ++i) products<1>(left + i * row, row, column, right, count, result + i);
}

// Rows far apart would all fall into the same few places of the first cache.
void pack(const float* x, int64_t rows, int64_t row, int64_t columns, int64_t column, float* packed) {
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j) packed[i * columns + j] = x[i * row + j * column];
}

Block* blocks(int64_t count) { return static_cast<Block*>(std::aligned_alloc(sizeof(vec), count * sizeof(Block))); }

}  // namespace

// Arrays as (batch, heads, rows, columns), with strides in elements for each of the four; heads of q share those of k
// and v `group` at a time. The mask, if any, is (batch, heads, queries, keys). The result's columns lie one after
// another. For heads `first` to `last` of all batches. Returns 0, or 1 if memory is lacking.
extern "C" int attention(
    const float* q, const int64_t* qs, const float* k, const int64_t* ks, const float* v, const int64_t* vs,
    const float* mask, const int64_t* ms, float* out, const int64_t* os, int64_t heads, int64_t group, int64_t queries,
    int64_t keys, int64_t depth, int64_t values, float scale, int64_t first, int64_t last) {
    Block* query = blocks(depth);
    Block* scores = blocks(keys);
    Block* mixed = blocks(values);
    float* packed = static_cast<float*>(std::malloc(keys * (depth + values) * sizeof(float)));
    const bool lacking = !query || !scores || !mixed || !packed;
    for (int64_t n = first; n < last && !lacking; ++n) {
        const int64_t batch = n / heads, head = n % heads;
        const float* qn = q + batch * qs[0] + head * qs[1];
        float* kn = packed;
        float* vn = packed + keys * depth;
        pack(k + batch * ks[0] + head / group * ks[1], keys, ks[2], depth, ks[3], kn);
        pack(v + batch * vs[0] + head / group * vs[1], keys, vs[2], values, vs[3], vn);
        const float* mn = mask ? mask + batch * ms[0] + head * ms[1] : nullptr;
        float* on = out + batch * os[0] + head * os[1];
        for (int64_t start = 0; start < queries; start += LANES) {
            const int64_t count = std::min<int64_t>(LANES, queries - start);
            for (int64_t d = 0; d < depth; ++d) {
                float* lanes = reinterpret_cast<float*>(query + d);
                for (int64_t i = 0; i < LANES; ++i)
                    lanes[i] = i < count ? qn[(start + i) * qs[2] + d * qs[3]] * scale : 0.0f;
            }
            multiply(kn, keys, depth, 1, query, depth, scores);
            if (mn)
                for (int64_t j = 0; j < keys; ++j) {
                    float* lanes = reinterpret_cast<float*>(scores + j);
                    for (int64_t i = 0; i < count; ++i) lanes[i] += mn[(start + i) * ms[2] + j * ms[3]];
                }
            Block sums = {};
            for (int part = 0; part < VECTORS; ++part) {
                vec most = scores[0].part[part];
                for (int64_t j = 1; j < keys; ++j) {
                    const vec each = scores[j].part[part];
                    most = each > most ? each : most;
                }
                for (int64_t j = 0; j < keys; ++j) {
                    const vec weight = exp2_below_zero((scores[j].part[part] - most) * LOG2_E);
                    scores[j].part[part] = weight;
                    sums.part[part] += weight;
                }
            }
            multiply(vn, values, 1, values, scores, keys, mixed);
            const float* sum = reinterpret_cast<const float*>(&sums);
            for (int64_t i = 0; i < count; ++i)
                for (int64_t d = 0; d < values; ++d)
                    on[(start + i) * os[2] + d] = reinterpret_cast<const float*>(mixed + d)[i] / sum[i];
        }
    }
    std::free(query);
    std::free(scores);
    std::free(mixed);
    std::free(packed);
    return lacking;
}
