// The llama that `model.random` describes.
#pragma once

#include "core/model/model_config.h"
#include "recipes/recipe_config.h"

namespace decant {

ModelConfig random_model_config(const RandomModelConfig& random, int64_t vocab_size);

}  // namespace decant
