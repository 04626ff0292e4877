#include "core/model/grow_vocabulary.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/error.h"

namespace decant {

void grow_vocabulary(Decoder& model, int64_t had, int64_t vocabulary) {
  check(quantization_of(model) == Quantization::kNone, "new tokens: the model is quantized to ",
        to_string(quantization_of(model)), "; add them to the unquantized model");
  TORCH_INTERNAL_ASSERT(had > 0 && had <= model.config.vocab_size && had <= vocabulary);
  const int64_t rows = std::max(vocabulary, model.config.vocab_size);
  const auto grow = [&](Parameter& matrix) {
    at::Tensor larger = at::empty({rows, matrix.value.size(1)}, matrix.value.options());
    larger.narrow(0, 0, matrix.value.size(0)).copy_(matrix.value);
    const auto mean = matrix.value.narrow(0, 0, had).to(at::kFloat).mean(0);
    larger.narrow(0, had, vocabulary - had).copy_(mean.expand({vocabulary - had, mean.size(0)}));
    matrix.value = larger;
  };
  grow(model.embed_tokens);
  if (model.lm_head.defined()) grow(model.lm_head);
  model.config.vocab_size = rows;
  model.config.source["vocab_size"] = rows;
}

}  // namespace decant
