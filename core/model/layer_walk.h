// What a layer holds, in one place: every loop over a layer's weights is this walk.
#pragma once

#include "core/model/decoder.h"

namespace decant {

// Calls projection(Projection&) and single(Parameter&) for all that the layer has, in about the checkpoint's
// order. Layer is DecoderLayer or const DecoderLayer.
template <class Layer, class OnProjection, class OnSingle>
void walk_layer(Layer& layer, const OnProjection& projection, const OnSingle& single) {
  const auto some = [&](auto& group) {
    if (!group.linears.empty()) projection(group);
  };
  const auto one = [&](auto& parameter) {
    if (parameter.defined()) single(parameter);
  };
  some(layer.qkv);
  if (layer.latent) {
    some(layer.latent->inputs);
    one(layer.latent->q_a_layernorm);
    some(layer.latent->q_b);
    one(layer.latent->kv_a_layernorm);
    some(layer.latent->kv_b);
  }
  some(layer.o);
  one(layer.q_norm);
  one(layer.k_norm);
  some(layer.gate_up);
  some(layer.down);
  if (layer.experts) {
    one(layer.experts->router);
    one(layer.experts->correction);
    for (auto& expert : layer.experts->experts) {
      some(expert.gate_up);
      some(expert.down);
    }
    some(layer.experts->shared.gate_up);
    some(layer.experts->shared.down);
  }
  one(layer.input_layernorm);
  one(layer.post_attention_layernorm);
  one(layer.pre_feedforward_layernorm);
  one(layer.post_feedforward_layernorm);
}

}  // namespace decant
