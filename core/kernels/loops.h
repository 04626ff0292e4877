// The hot loops, compiled three times (AVX2 with FMA, AVX-512, AVX-512 with BF16) from one source, loops.inc,
// and chosen at run time. Plain C types at the boundary and nothing inline that the rest shares: else the
// linker could keep the AVX-512 copy of a function that an AVX2 machine calls. Sixteen lanes and one order of
// summation on all levels.
//
// bf16 values are uint16_t here; T is uint16_t or float. Arithmetic is fp32. Rows are contiguous unless a
// stride is given (strides count elements). No function allocates or starts threads.
#pragma once

#include <cstdint>

namespace decant {

struct AdamwNumbers {
  float gradient_scale, decay, beta1, beta2, one_minus_beta1, one_minus_beta2, rate_over_c1, inverse_root_c2,
      epsilon;
};

constexpr int64_t kCodeBlock = 256;  // elements that share an absmax

// The levels of an 8-bit map, and how the nearest one is found: all numbers with one exponent and one value
// of the upper seven bits of the mantissa are a bucket, and at most one bound between levels lies in a
// bucket.
struct CodeTable {
  static constexpr int32_t kFirst = (127 - 23) << 7;            // smaller numbers are in the first bucket
  static constexpr int32_t kBuckets = (127 << 7) - kFirst + 1;  // the last one is for 1
  struct Bucket {
    int32_t bound;  // bits of a float; the largest number: none
    int32_t code;   // levels between 0 and the bound or, without one, what is in the bucket
  };
  float level[256];
  Bucket buckets[kBuckets];
  int32_t zero;   // code of 0: the number of levels below it
  int32_t least;  // 1: no number above 0 gets the code of 0
};
// Of [n] elements, which begin at a block.
struct CodedMoments {
  uint8_t *m, *v;
  float *m_absmax, *v_absmax;  // of each block
  const CodeTable *m_table, *v_table;
};

// log q = student / temperature - student_log_sum, log p likewise; log_sum is the student's at temperature 1.
struct DivergenceNumbers {
  float inverse_temperature, student_log_sum, teacher_log_sum, log_sum, kl, cross_entropy;
};

template <class T>
struct LoopsOf {
  // x (+ delta when given, stored in sum) -> y, inverse (may be null). See rms_norm.h.
  void (*rms_norm)(const T* x, const T* delta, const T* weight, int64_t rows, int64_t width, float epsilon,
                   T* sum, T* y, float* inverse);
  // weight_grad may be null; else [width], added to.
  void (*rms_norm_backward)(const T* dy, const T* weight, const T* x, const float* inverse, int64_t rows,
                            int64_t width, T* dx, float* weight_grad);
  // One token's heads: head h at x + h * head_stride; cosine and sine [width / 2].
  void (*rope)(T* x, int64_t heads, int64_t head_stride, int64_t width, const float* cosine,
               const float* sine, float sign);
  void (*swiglu)(const T* gate_up, int64_t rows, int64_t width, T* out);
  void (*swiglu_backward)(const T* dh, const T* gate_up, int64_t rows, int64_t width, T* d_gate_up);
  // log sum exp of factor * row.
  float (*log_sum_exp)(const T* row, int64_t n, float factor);
  // row <- factor * exp(row - log_sum), in place.
  void (*softmax_gradient)(T* row, int64_t n, float log_sum, float factor);
  // sum p (log p - log q) of one row of logits; with `gradients`, student <- kl (q - p) + cross_entropy
  // softmax(student), which lacks the target's own term.
  double (*divergence)(T* student, const T* teacher, int64_t n, const DivergenceNumbers& k, bool gradients);
  // y [rows, columns] += factor * delta.
  void (*add_scaled)(T* y, int64_t y_stride, const float* delta, int64_t delta_stride, int64_t rows,
                     int64_t columns, float factor);
  // Where a bit of dropped (core/kernels/dropout.h) is set: y [rows, columns] contiguous gets 0 instead of x,
  // or stays as it is instead of being added to. A row of bits begins at a byte.
  void (*copy_kept)(const T* x, int64_t x_stride, const uint8_t* dropped, int64_t dropped_stride,
                    int64_t rows, int64_t columns, T* y);
  void (*add_scaled_kept)(T* y, int64_t y_stride, const float* delta, int64_t delta_stride,
                          const uint8_t* dropped, int64_t dropped_stride, int64_t rows, int64_t columns,
                          float factor);
  // grad [columns] += column sums.
  void (*add_columns)(float* grad, const T* x, int64_t stride, int64_t rows, int64_t columns);

  // Operands of small matrix products, zero beyond [rows, columns] up to [padded_rows, padded_columns]
  // (even). As they lie, contiguous.
  void (*copy_block)(const T* x, int64_t stride, int64_t rows, int64_t columns, int64_t padded_rows,
                     int64_t padded_columns, T* out);
  // Transposed: [padded_columns, padded_rows].
  void (*transpose_block)(const T* x, int64_t stride, int64_t rows, int64_t columns, int64_t padded_rows,
                          int64_t padded_columns, T* out);
  // Right operand with the rows as the inner dimension: float as it lies; bf16 two rows interleaved, [rows /
  // 2][columns][2].
  void (*pack_rows)(const T* x, int64_t stride, int64_t rows, int64_t columns, int64_t padded_rows,
                    int64_t padded_columns, T* out);
  // Right operand with the columns as the inner dimension: x^T; float [columns][rows]; bf16 [columns /
  // 2][rows][2].
  void (*pack_columns)(const T* x, int64_t stride, int64_t rows, int64_t columns, int64_t padded_rows,
                       int64_t padded_columns, T* out);

  // One online-softmax step on a tile of scores [queries, keys] (keys a multiple of 16). Row r sees the
  // columns [first_key[r], end_key[r]). Updates max and sum [queries], multiplies the rows of out [queries,
  // width] by what the older maximum costs, and writes the tile's probabilities.
  void (*softmax_step)(const float* scores, int64_t queries, int64_t keys, const int32_t* first_key,
                       const int32_t* end_key, float scale, float* max, float* sum, float* out, int64_t width,
                       T* probabilities);
  // out [rows, width] / sum -> y; log_sum[r * log_sum_stride] = max + log sum.
  void (*softmax_finish)(const float* out, int64_t rows, int64_t padded_width, int64_t width,
                         const float* max, const float* sum, T* y, int64_t y_stride, float* log_sum,
                         int64_t log_sum_stride);
  // Backward, tile transposed: scores and dp are [keys, queries] (queries a multiple of 16); query c sees the
  // keys [first[c], end[c]). p = exp(scale s - log_sum), dz = scale p (dp - dot). Writes p and dz as left
  // operands and dz as a right operand (pack_rows).
  void (*softmax_back)(const float* scores, const float* dp, int64_t keys, int64_t queries,
                       const int32_t* first_key, const int32_t* end_key, float scale, const float* log_sum,
                       const float* dot, T* p, T* dz, T* dz_packed);
  // dots of rows: out[r * out_stride] = sum a b.
  void (*row_dots)(const T* a, int64_t a_stride, const T* b, int64_t b_stride, int64_t rows, int64_t width,
                   float* out, int64_t out_stride);
  // x [rows, columns] of floats (transposed: [columns, rows]) rounded into y.
  void (*store_block)(const float* x, int64_t stride, bool transposed, int64_t rows, int64_t columns, T* y,
                      int64_t y_stride);
  // One query of one head against cached keys: scores[j] = scale q . k_j for rows j of a cache block.
  void (*cached_scores)(const T* q, int64_t width, const T* k, int64_t key_stride, int64_t keys, float scale,
                        float* scores);
  // out [width] += sum over keys of p_j v_j.
  void (*cached_values)(const float* p, int64_t keys, const T* v, int64_t value_stride, int64_t width,
                        float* out);
};

struct Loops {
  LoopsOf<uint16_t> bf16;
  LoopsOf<float> fp32;
  // compute may be null.
  void (*adamw)(float* master, float* m, float* v, const float* grad, uint16_t* compute, int64_t n,
                const AdamwNumbers& k);
  // noise: one 16-bit draw an element (stochastic rounding).
  void (*adamw_stochastic)(uint16_t* weight, float* m, float* v, const float* grad, const uint16_t* noise,
                           int64_t n, const AdamwNumbers& k);
  // The same on moments in codes (block_codes.h).
  void (*adamw_coded)(float* master, const CodedMoments& moments, const float* grad, uint16_t* compute,
                      int64_t n, const AdamwNumbers& k);
  void (*adamw_stochastic_coded)(uint16_t* weight, const CodedMoments& moments, const float* grad,
                                 const uint16_t* noise, int64_t n, const AdamwNumbers& k);
  // One block of at most kCodeBlock elements; encode_block returns its absmax.
  float (*encode_block)(const float* x, int64_t n, const CodeTable& table, uint8_t* codes);
  void (*decode_block)(const uint8_t* codes, float absmax, int64_t n, const CodeTable& table, float* out);
  // The eight 16-bit parts of philox(seed, stream, counter + i) (core/random.h), lower halves first.
  void (*draw_words)(uint64_t seed, uint64_t stream, uint64_t counter, int64_t draws, uint16_t* out);
  // Which of these are below the limit (at most 65535), a bit each: one byte a draw.
  void (*draw_bits)(uint64_t seed, uint64_t stream, uint64_t counter, int64_t draws, uint32_t limit,
                    uint8_t* out);
  double (*sum_of_squares)(const float* x, int64_t n);
  // Softmax over scores[0..n) in place; returns nothing when n is 0.
  void (*softmax)(float* scores, int64_t n);
  const char* level;
};

// The best level of this machine; null where it has no AVX2 with FMA (then the plain forms run).
const Loops* loops();

namespace avx2 {
Loops make_loops();
}
namespace avx512 {
Loops make_loops();
}
namespace avx512_bf16 {
Loops make_loops();
}

}  // namespace decant
