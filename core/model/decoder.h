// The decoder: embedding, blocks, final norm, head. Names are the checkpoint's. Forward and backward are
// written, not recorded (llm.c's way on tensors): forward fills `Saved`, backward reads it, adds to the
// gradients of what is trainable and returns nothing that nobody asked for.
//
// Legend: T tokens, D width, H heads, G key/value heads, K head width, F feed-forward width, V vocabulary.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/kernels/attention.h"
#include "core/kernels/parameter.h"
#include "core/kernels/projection.h"
#include "core/kernels/rms_norm.h"
#include "core/kernels/rope.h"
#include "core/model/batch.h"
#include "core/model/model_config.h"

namespace decant {

struct DecoderLayer {
  Parameter input_layernorm, post_attention_layernorm;  // [D]
  Projection qkv, o;                                    // self_attn.{q,k,v}_proj; self_attn.o_proj
  Parameter q_norm, k_norm;                             // [K], qwen3 only
  Projection gate_up, down;                             // mlp.{gate,up}_proj; mlp.down_proj
};

struct Decoder {
  ModelConfig config;
  Parameter embed_tokens;  // [V, D] "model.embed_tokens.weight"
  std::vector<DecoderLayer> layers;
  Parameter norm;     // [D] "model.norm.weight"
  Parameter lm_head;  // [V, D]; undefined when tied

  // A cache, filled by rope_for(): as many positions as were asked for so far. One thread at a time uses a
  // decoder.
  mutable RopeTable rope;

  Parameter& head() { return lm_head.defined() ? lm_head : embed_tokens; }
  const Parameter& head() const { return lm_head.defined() ? lm_head : embed_tokens; }
  at::ScalarType dtype() const { return embed_tokens.value.scalar_type(); }

  // Every parameter of the checkpoint, in the checkpoint's order; with fused weights, the views. Adapter
  // terms are not among them.
  std::vector<Parameter*> parameters();
  std::vector<const Parameter*> parameters() const;
  // Every linear of the seven projections of all layers, in order.
  std::vector<Linear*> linears();
  // Adapter terms' parameters, lora_A before lora_B, in order of linears.
  std::vector<Parameter*> adapter_parameters();
};

// Marks every weight trainable (full fine-tune) and allocates gradients; fused projections get fused
// gradients of which each linear's grad is a view. Frozen: marks none and frees them. Adapter terms are
// untouched by both.
void make_trainable(Decoder& model);
void freeze(Decoder& model);
void clear_gradients(const std::vector<Parameter*>& parameters);

// The model's angles for at least `positions` positions; grows the cached table when it is shorter. Error
// beyond max_position_embeddings.
const RopeTable& rope_for(const Decoder& model, int64_t positions);

// What forward keeps for backward; the inputs of qkv, gate_up and down, outputs of a norm or swiglu, are made
// again there and not kept (their `x` is undefined). With `checkpoint`, only each layer's input [T, D] is
// kept and backward runs the layer again.
struct LayerSaved {
  at::Tensor input;  // [T, D]
  RmsNormSaved input_norm, post_norm, q_norm, k_norm;
  ProjectionSaved qkv, o, gate_up, down;
  AttentionSaved attention;
  at::Tensor gate_up_out;  // [T, 2F]
};
struct Saved {
  bool checkpoint = false;
  std::vector<LayerSaved> layers;
  RmsNormSaved norm;
};

// Returns the hidden states after the final norm [T, D]. `saved` null: inference, nothing kept.
// `after_layer`, when given, sees the residual stream after each block (tests against hidden.layer{i}). Error
// for an empty row, an id outside the vocabulary or a position beyond max_position_embeddings.
at::Tensor forward(const Decoder& model, const Batch& batch, Saved* saved = nullptr,
                   const std::function<void(int64_t, const at::Tensor&)>& after_layer = {});

// d_hidden [T, D]: gradient of the result of forward. Stops below the lowest weight or term that trains; what
// is trainable must be the same as at forward.
void backward(Decoder& model, const Batch& batch, const Saved& saved, const at::Tensor& d_hidden);

}  // namespace decant
