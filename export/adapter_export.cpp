#include "export/adapter_export.h"

#include "core/error.h"

namespace decant {

void export_adapter(const Adapter& adapter, const std::filesystem::path& out) {
  check(!adapter.config.use_dora, out.string(),
        ": the adapter is DoRA, which vLLM and llama.cpp refuse; train it with 'lora.dora: false', or "
        "release the ",
        "merged model (decant merge)");
  write_adapter(out, fold_scale(adapter));
}

}  // namespace decant
