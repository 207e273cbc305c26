// The largest of ranges of rows, where it is, and the logarithm of their sum of e^x (layers/peaks.py).

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "vectors.h"

namespace {

constexpr float NOTHING = -std::numeric_limits<float>::infinity();
constexpr int64_t PIECE = 64 * WIDTH;  // summed in float32: whole rows would lose digits

float largest(const float* x, const float* bar, int64_t count) {
    vec most = vec{} + NOTHING;
    int64_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH) {
        const vec each = load(x + i) + load(bar + i);
        most = each > most ? each : most;
    }
    float result = NOTHING;
    for (int lane = 0; lane < WIDTH; ++lane) result = std::max(result, most[lane]);
    for (; i < count; ++i) result = std::max(result, x[i] + bar[i]);
    return result;
}

double sum_of_powers(const float* x, const float* bar, int64_t count, float most) {
    double total = 0;
    int64_t i = 0;
    while (i + WIDTH <= count) {
        vec lanes = {};
        for (const int64_t end = std::min(count, i + PIECE); i + WIDTH <= end; i += WIDTH)
            lanes += exp2_below_zero((load(x + i) + load(bar + i) - most) * LOG2_E);
        total += sum(lanes);
    }
    for (; i < count; ++i) total += std::exp(x[i] + bar[i] - most);
    return total;
}

}  // namespace

// x is (rows, size), bar (size) is added to each row; bounds (rows, ranges + 1) tell where ranges begin and end. Results
// are (rows, ranges). Of a range in which nothing is larger than -inf, that is what the results are, and its beginning.
extern "C" int peaks(const float* x, const float* bar, const int64_t* bounds, int64_t rows, int64_t size, int64_t ranges,
                     float* most, int64_t* place, float* logsumexp) {
    for (int64_t row = 0; row < rows; ++row, x += size, bounds += ranges + 1)
        for (int64_t range = 0; range < ranges; ++range, ++most, ++place, ++logsumexp) {
            const int64_t first = bounds[range], count = bounds[range + 1] - first;
            *most = largest(x + first, bar + first, count);
            *place = first;
            *logsumexp = NOTHING;
            if (*most == NOTHING) continue;
            while (x[*place] + bar[*place] != *most) ++*place;
            *logsumexp = *most + static_cast<float>(std::log(sum_of_powers(x + first, bar + first, count, *most)));
        }
    return 0;
}
