// The front door to the kernels: checks shapes and dtypes (a mismatch is a bug and aborts), then calls the
// device's table. Outputs come last. Letters: T tokens, D model width, F hidden width, V vocabulary, H heads,
// B sentences.
#pragma once
#include <cstdint>
#include <span>

#include "kernels/api/philox.h"
#include "libmoe/core/tensor.h"
#include "libmoe/core/weight.h"

namespace moe::ops {

using kernels::Activation;
using kernels::RandomStream;

// --- matrix products
// -------------------------------------------------------------------------------------------
/// c: [M,N] = act(op(a) b + bias), or c += op(a) b. See kernels/api/gemm.h for the order of summation.
struct Gemm {
  TensorView a;       // [M,K], or [K,M] when trans_a
  WeightView b;       // [K,N]
  TensorView c;       // [M,N]
  TensorView bias{};  // [N] or empty
  bool trans_a = false, accumulate = false;
  Activation activation = Activation::none;
  Product product = Product::f32;
};
void gemm(Stream& stream, const Gemm& problem);
/// Independent products, scheduled together.
void gemm(Stream& stream, std::span<const Gemm> problems);

// --- elementwise
// -----------------------------------------------------------------------------------------------
void fill(Stream& stream, float value, const TensorView& y);
/// y += alpha * x
void add_scaled(Stream& stream, float alpha, const TensorView& x, const TensorView& y);
/// y = gelu(x) (exact, erf) or relu(x); x and y may be the same.
void activation(Stream& stream, Activation kind, const TensorView& x, const TensorView& y);
/// dy *= act'(x). For relu x may be the activation's input or its output; for gelu its input.
void activation_backward(Stream& stream, Activation kind, const TensorView& x, const TensorView& dy);
/// db: [N] += column sums of dy: [T,N].
void bias_backward(Stream& stream, const TensorView& dy, const TensorView& db);
/// y = residual + dropout(x), kept elements scaled by 1/(1-p). x, residual, y: [T,D]; y may be x or residual;
/// residual may be empty. Element (t,d) uses number t*D+d of the stream. p = 0 draws nothing.
void dropout_add(Stream& stream, const TensorView& x, const TensorView& residual, float p,
                 const RandomStream& random, const TensorView& y);
/// dx = dropout mask * dy / (1-p); dx may be dy.
void dropout_backward(Stream& stream, const TensorView& dy, float p, const RandomStream& random,
                      const TensorView& dx);
/// The sum of squares in fp64, in an order that does not depend on the threads. Waits for the stream.
double sum_of_squares(Stream& stream, const TensorView& x);
/// True when every element is finite. Waits for the stream.
bool all_finite(Stream& stream, const TensorView& x);

// --- normalisation
// ---------------------------------------------------------------------------------------------
/// y = (x - mean) * rstd * gamma + beta per row.
struct LayerNorm {
  TensorView x, gamma, beta;  // [T,D], [D], [D]
  float epsilon;
  TensorView y;               // [T,D]
  TensorView mean{}, rstd{};  // [T]; both may be empty when no backward follows
};
void layer_norm(Stream& stream, const LayerNorm& a);
/// Of dropout_add.
struct ResidualDropout {
  float p = 0;
  RandomStream random{};
};
/// sum = residual + dropout(x) as dropout_add, then y = its norm.
struct AddNorm {
  TensorView x, residual;  // [T,D]; x may be sum
  ResidualDropout dropout;
  TensorView gamma, beta;  // [D]
  float epsilon;
  TensorView sum, y;          // [T,D]
  TensorView mean{}, rstd{};  // [T]; both may be empty when no backward follows
};
void add_norm(Stream& stream, const AddNorm& a);
struct LayerNormBackward {
  TensorView dy, x, gamma;   // [T,D], [T,D], [D]
  TensorView mean, rstd;     // [T], as layer_norm left them
  TensorView dx;             // [T,D] += the gradient: holds the residual path's before
  TensorView dgamma, dbeta;  // [D] +=
};
void layer_norm_backward(Stream& stream, const LayerNormBackward& a);

// --- embedding
// -------------------------------------------------------------------------------------------------
/// y[t] = table[ids[t]] * scale + positions[position[t]]
struct Embedding {
  TensorView ids, table;  // [T] i32, [V,D]
  float scale = 1;
  TensorView position{}, positions{};  // [T] i32, [P,D]; both may be empty
  TensorView y;                        // [T,D]
};
void embedding(Stream& stream, const Embedding& a);
/// dtable[ids[t]] += dy[t] * scale, summed in the order of t for each row.
void embedding_backward(Stream& stream, const TensorView& ids, const TensorView& dy, float scale,
                        const TensorView& dtable);

// --- attention over ragged sequences
// ---------------------------------------------------------------------------
/// Sequence b has query rows [q_begin[b], q_begin[b]+q_length[b]) and key rows [k_begin[b],
/// k_begin[b]+k_length[b]). All four are [B] i32. causal: query i of a sequence sees keys j <= i + (k_length
/// - q_length).
struct AttentionShape {
  TensorView q_begin, q_length, k_begin, k_length;
  std::int64_t n_heads = 0;  // head h uses columns [h*D/H, (h+1)*D/H) of q, k, v and y
  bool causal = false;
  float scale = 1;                // of the scores, 1/sqrt(D/H)
  float dropout = 0;              // of the probabilities
  RandomStream random{};          // element (query row, head, key's index in its sequence) takes number
                                  // (row*R + head) * 65536 + index, R = random_heads
  std::int64_t random_heads = 0;  // 0: n_heads; more where these are some of a row's heads
};
/// y = softmax(scale * q k^T) v per head and sequence. A query with no key gives 0. A sequence's result does
/// not depend on the others.
struct Attention {
  AttentionShape shape;
  TensorView q, k, v;        // [Tq,D], [Tk,D], [Tk,D]; rows may be strided
  TensorView y;              // [Tq,D]
  TensorView log_sum_exp{};  // [Tq,H] saved for the backward pass, or empty
};
void attention(Stream& stream, const Attention& a);
/// Overwrites dq on the sequences' query rows, dk and dv on their key rows.
struct AttentionBackward {
  AttentionShape shape;
  TensorView q, k, v, y, log_sum_exp, dy;  // as above
  TensorView dq, dk, dv;                   // like q, k and v
};
void attention_backward(Stream& stream, const AttentionBackward& a);

// --- loss and search
// -------------------------------------------------------------------------------------------
/// Label-smoothed cross-entropy per row: (1-s) * -log p[label] + s * mean_v(-log p[v]). logits: [T,V] is
/// overwritten by its gradient times dloss; labels: [T] i32, -1 = ignored (loss and gradient 0); loss, nll:
/// [T] (nll without smoothing). dloss = 0 leaves the logits as they are.
void cross_entropy(Stream& stream, const TensorView& logits, const TensorView& labels, float smoothing,
                   float dloss, const TensorView& loss, const TensorView& nll);
/// The same with the vocabulary V divided into parts, W of it here; two steps with an exchange between them.
/// logits: [T,W] becomes e^(logits - top); labels: [T] i32 within the part, kernels::kNotCounted or
/// kInAnotherPart; sums: [T,4], see kernels/api/loss.h.
void softmax_part(Stream& stream, const TensorView& logits, const TensorView& labels, const TensorView& sums);
struct CrossEntropyOfParts {
  TensorView logits;         // [T,W] as the first step left it, overwritten by the gradient unless dloss is 0
  TensorView labels, sums;   // [T] i32; [parts*T,4] of all parts
  std::int64_t part, n_all;  // which part this is; V
  float smoothing, dloss;
  TensorView loss, nll;  // [T]
};
void cross_entropy_of_parts(Stream& stream, const CrossEntropyOfParts& a);
/// x: [T,V] becomes log softmax(x) per row.
void log_softmax(Stream& stream, const TensorView& x);
/// The k largest of each row in falling order, ties to the lowest index. x: [T,V]; values: [T,k] f32;
/// indices: [T,k] i32.
void top_k(Stream& stream, const TensorView& x, std::int64_t k, const TensorView& values,
           const TensorView& indices);
/// y[i] = x[index[i]], a zero row where index is -1. x: [R,D], y: [N,D], index: [N] i32.
void gather_rows(Stream& stream, const TensorView& x, const TensorView& index, const TensorView& y);

// --- optimizer
// -------------------------------------------------------------------------------------------------
/// Adam with decoupled weight decay (arXiv 1412.6980, 1711.05101):
/// g = gradient * gradient_scale; m, v updated; p -= rate * (m / bias1 / (sqrt(v / bias2) + epsilon) + decay
/// * p).
struct AdamStep {
  float rate, beta1, beta2, epsilon, decay, gradient_scale;
  float bias1, bias2;  // 1 - beta^step
};
struct Adam {
  AdamStep step;
  TensorView gradient, m, v, parameter;  // as many elements, contiguous
};
void adam(Stream& stream, const Adam& a);

}  // namespace moe::ops
