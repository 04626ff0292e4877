#include "export/adapter_export.h"

#include "core/error.h"

namespace decant {

void export_adapter(const Adapter& adapter, const std::filesystem::path& out) {
  check(!adapter.config.use_dora, out.string(),
        ": the adapter is DoRA, which vLLM and llama.cpp refuse; train it with 'lora.dora: false', or "
        "release the ",
        "merged model (decant merge)");
  check(adapter.tokens.ids.empty(), out.string(), ": the adapter has rows for ", adapter.tokens.ids.size(),
        " tokens, which vLLM and llama.cpp do not take; train it without 'lora.trainable_tokens', or release "
        "the merged model (decant merge)");
  write_adapter(out, fold_scale(adapter));
}

}  // namespace decant
