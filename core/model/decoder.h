// The decoder: embedding, blocks, final norm, head. Names are the checkpoint's. Forward and backward are
// written, not recorded (llm.c's way on tensors): forward fills `Saved`, backward reads it, adds to the
// gradients of what is trainable and returns nothing that nobody asked for.
//
// Legend: T tokens, D width, H heads, G key/value heads, K head width, F feed-forward width, V vocabulary.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/kernels/attention.h"
#include "core/kernels/parameter.h"
#include "core/kernels/projection.h"
#include "core/kernels/rms_norm.h"
#include "core/kernels/rope.h"
#include "core/model/batch.h"
#include "core/model/latent_attention.h"
#include "core/model/mixture_of_experts.h"
#include "core/model/model_config.h"

namespace decant {

struct DecoderLayer {
  Parameter input_layernorm, post_attention_layernorm;  // [D]
  Projection qkv, o;                                    // self_attn.{q,k,v}_proj; self_attn.o_proj
  Parameter q_norm, k_norm;                             // [K], qwen3 only
  Projection gate_up, down;                             // mlp.{gate,up}_proj; mlp.down_proj

  // Families with other parts; layer_walk.h visits all there is.
  std::optional<LatentAttention> latent;                            // in place of qkv
  std::optional<MixtureOfExperts> experts;                          // in place of gate_up and down
  Parameter pre_feedforward_layernorm, post_feedforward_layernorm;  // [D], gemma2 only
};

// Rows of the embedding, and of a head of its own, that an adapter has its own values of (peft's
// trainable_token_indices). embed() puts them into the matrices, or the base's rows when they are not
// `shown`, before anything reads them; so forward, loss and generation need not know.
struct TokenRows {
  at::Tensor ids;             // int64 [n], rising
  Parameter embedding, head;  // [n, D]; head undefined: tied, or as it was
  at::Tensor base_embedding, base_head;
  bool shown = true;
};

struct Decoder {
  ModelConfig config;
  Parameter embed_tokens;  // [V, D] "model.embed_tokens.weight"
  std::vector<DecoderLayer> layers;
  Parameter norm;     // [D] "model.norm.weight"
  Parameter lm_head;  // [V, D]; undefined when tied
  std::optional<TokenRows> token_rows;

  // A cache, filled by rope_for(): as many positions as were asked for so far. One thread at a time uses a
  // decoder.
  mutable RopeTable rope;

  Parameter& head() { return lm_head.defined() ? lm_head : embed_tokens; }
  const Parameter& head() const { return lm_head.defined() ? lm_head : embed_tokens; }
  at::ScalarType dtype() const { return embed_tokens.value.scalar_type(); }

  // Every parameter of the checkpoint, in the checkpoint's order; with fused weights, the views. Adapter
  // terms are not among them, nor are quantized weights, which have no value.
  std::vector<Parameter*> parameters();
  std::vector<const Parameter*> parameters() const;
  // Every linear of all layers, in order.
  std::vector<Linear*> linears();
  // Adapter terms' parameters, lora_A, lora_B and the magnitude where there is one, in order of linears; then
  // the token rows.
  std::vector<Parameter*> adapter_parameters();
};

// What the linears' weights are kept in; and the weights with their values again, in the model's dtype.
Quantization quantization_of(const Decoder& model);
void dequantize_model(Decoder& model);

// Error for a quantized model. Marks every weight trainable (full fine-tune) and allocates gradients; fused
// projections get fused gradients of which each linear's grad is a view. Frozen: marks none and frees them.
// Adapter terms are untouched by both.
void make_trainable(Decoder& model);
void freeze(Decoder& model);
// Freezes the weights whose whole names match one of the regular expressions. Error, which begins with
// `where`, for one that matches nothing, and when nothing is left to train.
void freeze_matching(Decoder& model, const std::vector<std::string>& patterns, const std::string& where);
// What is marked, of parameters().
std::vector<Parameter*> trainable_parameters(Decoder& model);
void clear_gradients(const std::vector<Parameter*>& parameters);

// Gives the model rows for these ids (rising) with these values: embedding [n, D], head [n, D] or undefined.
// Error for an id outside the vocabulary, a head for a tied model, another width, and when there are rows.
void set_token_rows(Decoder& model, const std::vector<int64_t>& ids, const at::Tensor& embedding,
                    const at::Tensor& head, bool trainable);
// Takes them off, and the base's rows are back; or leaves their values in the matrices for good (a merge).
void remove_token_rows(Decoder& model);
void keep_token_rows(Decoder& model);

// Error for an empty row or an id outside the vocabulary. Returns the number of positions that the row has.
int64_t check_batch(const Decoder& model, const Batch& batch);

// The model's angles for at least `positions` positions; grows the cached table when it is shorter. Error
// beyond max_position_embeddings.
//
// Under longrope the table has two halves, one for documents up to original_max_position_embeddings and one
// for longer ones, which turn by other angles: long_rope_offset() is the row of the second half's position 0,
// and what is added to the positions of a document of `length` tokens (0 for all other models).
const RopeTable& rope_for(const Decoder& model, int64_t positions);
int64_t long_rope_offset(const Decoder& model, int64_t length);

// What forward keeps for backward; the inputs of qkv, gate_up and down, outputs of a norm or swiglu, are made
// again there and not kept (their `x` is undefined). With `checkpoint`, only each layer's input [T, D] is
// kept and backward runs the layer again.
struct LayerSaved {
  at::Tensor input;  // [T, D]
  RmsNormSaved input_norm, post_norm, q_norm, k_norm;
  ProjectionSaved qkv, o, gate_up, down;
  AttentionSaved attention;
  at::Tensor gate_up_out;  // [T, 2F]
  RmsNormSaved pre_feed_forward_norm, post_feed_forward_norm;
  LatentAttentionSaved latent;
  MixtureSaved mixture;
};
struct Saved {
  bool checkpoint = false;
  std::vector<LayerSaved> layers;
  RmsNormSaved norm;
};

// The rows of the embedding, as the first block reads them [T, D] (gemma2: times sqrt(D), rounded to the
// dtype). Puts the token rows in place.
at::Tensor embed(const Decoder& model, const at::Tensor& tokens);

// Returns the hidden states after the final norm [T, D]. `saved` null: inference, nothing kept.
// `after_layer`, when given, sees the residual stream after each block (tests against hidden.layer{i}). Error
// for an empty row, an id outside the vocabulary or a position beyond max_position_embeddings.
at::Tensor forward(const Decoder& model, const Batch& batch, Saved* saved = nullptr,
                   const std::function<void(int64_t, const at::Tensor&)>& after_layer = {});

// d_hidden [T, D]: gradient of the result of forward. Stops below the lowest weight or term that trains; what
// is trainable must be the same as at forward.
void backward(Decoder& model, const Batch& batch, const Saved& saved, const at::Tensor& d_hidden);

}  // namespace decant
