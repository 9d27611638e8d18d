// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * CPU kernels
 *
 * A family for each row of ops.def: a prototype macro here, a slot in `struct
 * cpu_kernels`, and one file per way to compute it, listed in cpu_kernels.def.
 * The C version defines what the operator means. The `vec` source of a family
 * is compiled once for each instruction set.
 *
 * Tensors are row-major f32 unless said. T tokens, C columns, H query heads
 * and G key-value heads of D values, L tokens of one sequence, V vocabulary.
 * An output that may be NULL is then not computed. Numbers that index a table
 * are checked: one out of range selects zeros and stores nothing.
 *
 * Kernels split their work over `pool` (NULL: none) so that the result is the
 * same for any number of threads. `scratch` has cpu_scratch_bytes() bytes,
 * aligned to 64, with any contents.
 */

#include "engine/backend.h"
#include "engine/base/cpuinfo.h"
#include "engine/base/noise.h"
#include "engine/base/pool.h"
#include "engine/cpu/cpu_plan.h"
#include "engine/tensor/dtype.h"

#include <stdint.h>

enum {
    CPU_HEAD_DIM_MAX = 256,
    CPU_TIERS_MAX = BACKEND_KERNELS_MAX,
};

// y (T,C) = rows `tokens` (T) of w (V,C) of type w_type
#define KERNEL_embed(name)                                             \
    void name(float *restrict y, const int32_t *restrict tokens,       \
              const void *restrict w, enum dtype w_type, int64_t rows, \
              int64_t cols, int64_t vocab, struct pool *pool)

// y (T,C) = x (T,C) * rstd (T) * w (C), rstd = 1 / sqrt(mean(x^2) + eps).
// rstd may be NULL. Where w is shorter than rows of the tensor, T are its runs.
#define KERNEL_rmsnorm(name)                                                  \
    void name(float *restrict y, float *restrict rstd,                        \
              const float *restrict x, const float *restrict w, int64_t rows, \
              int64_t cols, float eps, struct pool *pool)

// dx (T,C) may be dy (T,C)
#define KERNEL_rmsnorm_dx(name)                                    \
    void name(float *dx, const float *dy, const float *restrict x, \
              const float *restrict w, const float *restrict rstd, \
              int64_t rows, int64_t cols, struct pool *pool)

// dw (C)
#define KERNEL_rmsnorm_dw(name)                                    \
    void name(float *restrict dw, const float *restrict dy,        \
              const float *restrict x, const float *restrict rstd, \
              int64_t rows, int64_t cols, struct pool *pool)

// y (M,N) = alpha * op(a) op(b) + c; op(a) (M,K) is stored (K,M) if trans_a,
// op(b) (K,N) of type b_type is stored (N,K) if trans_b. c may be NULL or y.
// Operands are rounded if op_rounds(), a if cpu_rounds_rows().
#define KERNEL_matmul(name)                                              \
    void name(float *y, const float *restrict a, const void *restrict b, \
              enum dtype b_type, const float *c, int64_t m, int64_t n,   \
              int64_t k, bool trans_a, bool trans_b, float alpha,        \
              enum precision precision, void *restrict scratch,          \
              struct pool *pool)

// y (M,N) = alpha * a (M,K) (op(b) + op(d)) + c; b (K,N) of type b_type and d
// (K,N) are both stored (N,K) if trans_b. c may be NULL or y. What is rounded
// is a, and the sum op(b) + op(d).
#define KERNEL_matmul_delta(name)                                         \
    void name(float *y, const float *restrict a, const void *restrict b,  \
              enum dtype b_type, const float *restrict d, const float *c, \
              int64_t m, int64_t n, int64_t k, bool trans_b, float alpha, \
              enum precision precision, void *restrict scratch,           \
              struct pool *pool)

// y (M,N) = a (M,K) b^T + alpha * (a p^T) q^T + c; b (N,K) of type b_type, p
// (R,K) and q (N,R) both f32 or both bf16. c may be NULL or y. Where
// op_rounds() of M, N and K, alpha * (a p^T) is rounded as well; where
// cpu_rounds_rows(), p meets a as it is.
#define KERNEL_matmul_lora(name)                                           \
    void name(float *y, const float *restrict a, const void *restrict b,   \
              enum dtype b_type, const void *restrict p,                   \
              const void *restrict q, enum dtype low_type, const float *c, \
              int64_t m, int64_t n, int64_t k, int64_t rank, float alpha,  \
              enum precision precision, void *restrict scratch,            \
              struct pool *pool)

// y (M,N) = alpha * a (M,K) b^T + c; b (N,K) of type b_type. c may be NULL or
// y. Operands are rounded if op_rounds().
#define KERNEL_matmul_kept(name)                                         \
    void name(float *y, const float *restrict a, const void *restrict b, \
              enum dtype b_type, const float *c, int64_t m, int64_t n,   \
              int64_t k, float alpha, enum precision precision,          \
              void *restrict scratch, struct pool *pool)

// v (S), unless it is something already: the mean of the sub-tokens (S) of x
// (T,C), of length 1; of a mean of 0, equal values
#define KERNEL_subtoken_mean(name)                                      \
    void name(float *restrict v, const float *restrict x, int64_t rows, \
              int64_t cols, int64_t size, void *restrict scratch,       \
              struct pool *pool)

// z (T,C/S) = alpha * products of v (S) and the sub-tokens of x (T,C)
#define KERNEL_subtoken_dot(name)                                  \
    void name(float *restrict z, const float *restrict x,          \
              const float *restrict v, int64_t rows, int64_t cols, \
              int64_t size, float alpha, struct pool *pool)

// y (R,C): its sub-tokens are those values of z (R,C/S) times v (S)
#define KERNEL_subtoken_spread(name)                               \
    void name(float *restrict y, const float *restrict z,          \
              const float *restrict v, int64_t rows, int64_t cols, \
              int64_t size, struct pool *pool)

// rows (N), ascending, and xs (N,C): those rows of x (T,C) times their factors.
// Row t is drawn by p = |x[t]| * norms[t]: the largest c of them for sure,
// where c makes what is left of the sum of p, for each of the N - c draws, the
// least; those draws with factor 1 / (draws * p of those left). All with p > 0
// where they are no more than N, all at all where N is T; then xs has zeros
// behind.
#define KERNEL_choose_rows(name)                                               \
    void name(float *restrict xs, int32_t *restrict rows,                      \
              const float *restrict x, const float *restrict norms,            \
              const int32_t *restrict draw, uint32_t stream, int64_t n_chosen, \
              int64_t n_rows, int64_t cols, void *restrict scratch,            \
              struct pool *pool)

// y (T) = sum (T) + T * |x[t]|^2 / |x|^2, x (T,C); sum may be NULL or y. An x
// of zeros adds nothing.
#define KERNEL_row_squares(name)                                   \
    void name(float *y, const float *restrict x, const float *sum, \
              int64_t rows, int64_t cols, void *restrict scratch,  \
              struct pool *pool)

// Turns the first rope_dims values of each head of x (T,H*D) by the angles
// sign * pos * base^(-2i / rope_dims) / slower[i], and multiplies them with
// gain. slower (rope_dims / 2) may be NULL: all `slow`; else times that. y may
// be x.
#define KERNEL_rope(name)                                                  \
    void name(float *y, const float *x, const int32_t *restrict pos,       \
              int64_t rows, int64_t n_heads, int64_t head_dim,             \
              int64_t rope_dims, float base, const float *restrict slower, \
              float slow, float gain, enum rope_mode mode, int sign,       \
              void *restrict scratch, struct pool *pool)

// How attention makes a score of q.k: z = scale * q.k, or cap * tanh(z / cap)
// unless cap is 0. Tokens see the `window` latest alone, unless that is 0.
struct cpu_scores {
    float scale;
    float cap;
    int64_t window;
};

// o (T,H*D), lse (T,H); q (T,H*D), k and v (T,G*D), start (T). Token t of a
// sequence of L tokens sees tokens start[t] .. t of the same sequence; one that
// sees none has o = 0 and lse = -inf. lse may be NULL. What may be rounded is
// scale * q, k, v, and exp(score - highest score of the query).
#define KERNEL_attention(name)                                                 \
    void name(float *restrict o, float *restrict lse, const float *restrict q, \
              const float *restrict k, const float *restrict v,                \
              const int32_t *restrict start, int64_t rows, int64_t length,     \
              int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,           \
              struct cpu_scores scores, enum precision precision,              \
              void *restrict scratch, struct pool *pool)

// dq (T,H*D), dk and dv (T,G*D), each of which may be NULL. What may be rounded
// is scale * q, k, v, dout, p and ds, see attention_c.c.
#define KERNEL_attention_back(name)                                        \
    void name(float *restrict dq, float *restrict dk, float *restrict dv,  \
              const float *restrict dout, const float *restrict q,         \
              const float *restrict k, const float *restrict v,            \
              const float *restrict o, const float *restrict lse,          \
              const int32_t *restrict start, int64_t rows, int64_t length, \
              int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,       \
              struct cpu_scores scores, enum precision precision,          \
              void *restrict scratch, struct pool *pool)

// y = silu(gate) * up; y may be gate
#define KERNEL_swiglu(name)                                          \
    void name(float *y, const float *gate, const float *restrict up, \
              int64_t count, struct pool *pool)

// dgate and dup may be NULL
#define KERNEL_swiglu_back(name)                                    \
    void name(float *restrict dgate, float *restrict dup,           \
              const float *restrict dy, const float *restrict gate, \
              const float *restrict up, int64_t count, struct pool *pool)

// y = gelu(gate) * up, gelu by tanh; y may be gate
#define KERNEL_geglu(name)                                           \
    void name(float *y, const float *gate, const float *restrict up, \
              int64_t count, struct pool *pool)

// dgate and dup may be NULL
#define KERNEL_geglu_back(name)                                     \
    void name(float *restrict dgate, float *restrict dup,           \
              const float *restrict dy, const float *restrict gate, \
              const float *restrict up, int64_t count, struct pool *pool)

// y = a + b; y may be a or b
#define KERNEL_add(name)                                               \
    void name(float *y, const float *a, const float *b, int64_t count, \
              struct pool *pool)

// y = alpha * x; y may be x
#define KERNEL_scale(name)                                          \
    void name(float *y, const float *x, float alpha, int64_t count, \
              struct pool *pool)

// y (T,C) = x (T,C) * w (C); y may be x
#define KERNEL_scale_columns(name)                                             \
    void name(float *y, const float *x, const float *restrict w, int64_t rows, \
              int64_t cols, struct pool *pool)

// y (T,C) = x (T,C) + bias (C); y may be x
#define KERNEL_add_columns(name)                                    \
    void name(float *y, const float *x, const float *restrict bias, \
              int64_t rows, int64_t cols, struct pool *pool)

// y = cap * tanh(x / cap); y may be x
#define KERNEL_soft_cap(name)                                     \
    void name(float *y, const float *x, float cap, int64_t count, \
              struct pool *pool)

// dx = dy * (1 - (y / cap)^2); dx may be dy
#define KERNEL_soft_cap_back(name)                                            \
    void name(float *dx, const float *dy, const float *restrict y, float cap, \
              int64_t count, struct pool *pool)

// a (T,A), b (T,B): the first A and the last B columns of x (T,A+B); each may
// be NULL
#define KERNEL_split(name)                                                   \
    void name(float *restrict a, float *restrict b, const float *restrict x, \
              int64_t rows, int64_t a_cols, int64_t b_cols, struct pool *pool)

// y (T,A+B): a (T,A) and b (T,B) side by side
#define KERNEL_join(name)                                            \
    void name(float *restrict y, const float *restrict a,            \
              const float *restrict b, int64_t rows, int64_t a_cols, \
              int64_t b_cols, struct pool *pool)

// w (C) = sum over rows of a (T,C) * b (T,C)
#define KERNEL_dot_columns(name)                                   \
    void name(float *restrict w, const float *restrict a,          \
              const float *restrict b, int64_t rows, int64_t cols, \
              struct pool *pool)

// y (T,P) = the eighths `part` of the columns of x (T,C)
#define KERNEL_columns(name)                                            \
    void name(float *restrict y, const float *restrict x, uint8_t part, \
              int64_t rows, int64_t cols, struct pool *pool)

// dx (T,C) = dy (T,P) in those columns, 0 in others
#define KERNEL_columns_back(name)                                         \
    void name(float *restrict dx, const float *restrict dy, uint8_t part, \
              int64_t rows, int64_t cols, struct pool *pool)

// y (O) = |w_o| / |w_o + alpha * b_o a|, rows w_o of w (O,I) of type w_type,
// a (R,I), b (O,R); 1 where w_o + alpha * b_o a is zero
#define KERNEL_row_ratio(name)                                     \
    void name(float *restrict y, const float *restrict a,          \
              const void *restrict w, enum dtype w_type,           \
              const float *restrict b, int64_t rows, int64_t cols, \
              int64_t rank, float alpha, void *restrict scratch,   \
              struct pool *pool)

// y (N,C) = rows `index` (N) of x (T,C)
#define KERNEL_rows(name)                                                  \
    void name(float *restrict y, const float *restrict x,                  \
              const int32_t *restrict index, int64_t n_rows, int64_t rows, \
              int64_t cols, struct pool *pool)

// x (T,C), w (V,C) of type w_type, targets (T), weights (T).
// nll (T) = -log softmax(x w^T)[target] where the weight is not 0, else 0;
// loss (1) = sum of weights * nll; dx (T,C) = d loss / d x. A target outside
// the vocabulary counts as weight 0. Each output may be NULL. Logits z are
// cap * tanh(z / cap) unless cap is 0. What may be rounded is x, w, and the
// gradient of x w^T.
#define KERNEL_xent(name)                                                    \
    void name(float *restrict loss, float *restrict nll, float *restrict dx, \
              const float *restrict x, const void *restrict w,               \
              enum dtype w_type, const int32_t *restrict targets,            \
              const float *restrict weights, int64_t rows, int64_t cols,     \
              int64_t vocab, float cap, enum precision precision,            \
              void *restrict scratch, struct pool *pool)

// cache (L,C): row pos[t] becomes row t of x (T,C)
#define KERNEL_kv_store(name)                                          \
    void name(float *restrict cache, const float *restrict x,          \
              const int32_t *restrict pos, int64_t rows, int64_t cols, \
              int64_t length, struct pool *pool)

// o (T,H*D), q (T,H*D), caches (L,G*D): row t sees cache rows 0 .. pos[t], the
// window's latest of them
#define KERNEL_attention_cached(name)                                     \
    void name(float *restrict o, const float *restrict q,                 \
              const float *restrict kcache, const float *restrict vcache, \
              const int32_t *restrict pos, int64_t rows, int64_t length,  \
              int64_t n_heads, int64_t n_kv_heads, int64_t head_dim,      \
              struct cpu_scores scores, void *restrict scratch,           \
              struct pool *pool)

// sum += g
#define KERNEL_accumulate(name)                                            \
    void name(float *restrict sum, const float *restrict g, int64_t count, \
              struct pool *pool)

// x = 0
#define KERNEL_zero(name) void name(float *x, int64_t count, struct pool *pool)

// p, m, v in place; hyper: enum adamw_hyper. Loshchilov & Hutter, 1711.05101.
#define KERNEL_adamw(name)                                             \
    void name(float *restrict p, float *restrict m, float *restrict v, \
              const float *restrict g, const float *restrict hyper,    \
              int64_t count, void *restrict scratch, struct pool *pool)

// p and m in place: m = beta1 * m + g, p -= lr * (m + decay * p)
#define KERNEL_momentum(name)                                                \
    void name(float *restrict p, float *restrict m, const float *restrict g, \
              const float *restrict hyper, int64_t count, struct pool *pool)

// Of engine/base/noise.h; a limit that is NULL keeps nothing out.
struct cpu_noise {
    const int32_t *draw; // (4)
    uint32_t stream;
    enum noise kind;
    const float *limit;
};

// Copy d of y (D,count) = c (count) + sizes[d] * z of queries[d], where |c| is
// not above the limit, else c. Every sum and product is rounded on its own, so
// that all versions give the same bytes.
#define KERNEL_perturb(name)                                              \
    void name(float *restrict y, const float *restrict c,                 \
              struct cpu_noise noise, const int32_t *restrict queries,    \
              const float *restrict sizes, int64_t copies, int64_t count, \
              struct pool *pool)

// g (count) = sum over q of coefs[q] * z of queries[q], in this order, where
// |c| is not above the limit, else 0. As exact as perturb.
#define KERNEL_noise_sum(name)                                               \
    void name(float *restrict g, const float *restrict c,                    \
              struct cpu_noise noise, const int32_t *restrict queries,       \
              const float *restrict coefs, int64_t n_queries, int64_t count, \
              struct pool *pool)

// Copy d of y (D,M,N) = alpha * a (D,M,K) b (D,N,K)^T + c (D,M,N). c may be
// NULL or y. Operands are rounded if op_rounds().
#define KERNEL_matmul_copies(name)                                             \
    void name(float *y, const float *restrict a, const float *restrict b,      \
              const float *c, int64_t copies, int64_t m, int64_t n, int64_t k, \
              float alpha, enum precision precision, void *restrict scratch,   \
              struct pool *pool)

// One slot for each row of ops.def: an operator without a kernel family does
// not compile.
struct cpu_kernels {
#define OP(name, ...) KERNEL_##name((*name));
#include "engine/ir/ops.def"
#undef OP
};

#define KERNEL(family, isa, needs) KERNEL_##family(family##_##isa);
#include "engine/cpu/cpu_kernels.def"
#undef KERNEL

// Fill every slot with the best version that `flags` permits. Pure: tests pass
// subsets of the machine's flags to reach each version.
void cpu_kernels_init(struct cpu_kernels *k, unsigned flags);

// Tiers by name: "c", "avx2", ... Flags for a tier that this build has, or
// -ENOENT.
int cpu_tier_flags(unsigned *out, const char *name);
// All tiers that this build has and `flags` permit, worst first; how many.
struct cpu_tier {
    const char *name;
    unsigned flags;
};
uint32_t cpu_tiers(struct cpu_tier out[CPU_TIERS_MAX], unsigned flags);
// The best tier within `flags`.
const char *cpu_tier_name(unsigned flags);
// All tiers that this build has and `flags` permit: "c, avx2".
void cpu_tier_list(char *out, size_t size, unsigned flags);

// Room that any version of the kernel for `in` needs with that many threads.
size_t cpu_scratch_bytes(const struct instr *in, uint32_t threads);
