#include "core/threads.h"

#include <ATen/Parallel.h>

namespace decant {

void for_threads(int64_t begin, int64_t end, int64_t grain,
                 const std::function<void(int64_t first, int64_t last)>& body) {
  at::parallel_for(begin, end, grain, body);
}

}  // namespace decant
