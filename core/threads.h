// Loops on ATen's threads (OpenMP's, which the libraries' products run on as well; --threads sets their
// number).
//
// at::parallel_for is a template that is a plain loop, in silence, in every file that is compiled without
// OpenMP. Core's files are compiled with it (core/CMakeLists.txt); other folders call for_threads.
#pragma once

#include <cstdint>
#include <functional>

namespace decant {

// Calls body(first, last) for parts of [begin, end) of `grain` at least, at the same time.
void for_threads(int64_t begin, int64_t end, int64_t grain,
                 const std::function<void(int64_t first, int64_t last)>& body);

}  // namespace decant
