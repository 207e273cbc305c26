// Vectors of the machine's width, and what is computed on them.

#pragma once

#include <cstdint>

#if defined(__AVX512F__)
constexpr int WIDTH = 16;
#elif defined(__AVX__)
constexpr int WIDTH = 8;
#else
constexpr int WIDTH = 4;
#endif

constexpr float LOG2_E = 1.4426950408889634f;

typedef float vec __attribute__((vector_size(4 * WIDTH)));
typedef int32_t ivec __attribute__((vector_size(4 * WIDTH)));
typedef float unaligned_vec __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

inline vec load(const float* from) { return *reinterpret_cast<const unaligned_vec*>(from); }
inline void store(float* to, vec x) { *reinterpret_cast<unaligned_vec*>(to) = x; }

inline float sum(vec x) {
    float lanes = 0;
    for (int i = 0; i < WIDTH; ++i) lanes += x[i];
    return lanes;
}

// 2^x for x <= 0 with a relative error of 2e-7 down to 2^-126; below it no more than that, from 2^-127 on 0; nan for
// nan. With x = n + r and -1 < r <= 0 the power is 2^(n - 1) 2^(1 + r): n + 126 is its exponent, what 2^(1 + r) exceeds
// 1 by its mantissa, and to join them is to add integers. The coefficients are a minimax fit of our own.
inline vec exp2_below_zero(vec x) {
    vec bounded = x < -127.0f ? vec{} - 127.0f : x;
    ivec n = __builtin_convertvector(bounded, ivec);
    vec r = bounded - __builtin_convertvector(n, vec);
    vec p = 0.00021804649441037327f + vec{};
    for (float c : {0.0025494967121630907f, 0.019158359616994858f, 0.1109815165400505f, 0.48044872283935547f,
                    1.3862941265106201f})
        p = p * r + c;
    ivec mantissa = __builtin_convertvector((p * r) * 8388608.0f + 8388607.5f, ivec);
    vec power = (vec)(mantissa + n * 8388608 + (126 * 8388608 + 1));
    return x == x ? power : x;
}

inline vec sigmoid(vec x) {
    const vec power = exp2_below_zero((x < 0.0f ? x : -x) * LOG2_E);
    return (x < 0.0f ? power : 1.0f + vec{}) / (1.0f + power);
}
