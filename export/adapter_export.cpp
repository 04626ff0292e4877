#include "export/adapter_export.h"

namespace decant {

void export_adapter(const Adapter& adapter, const std::filesystem::path& out) {
  write_adapter(out, fold_scale(adapter));
}

}  // namespace decant
