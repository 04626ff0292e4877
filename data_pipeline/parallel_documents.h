// Documents of a store, read one after the other and worked on by many threads.
#pragma once

#include <tbb/parallel_for.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "data_pipeline/corpus_store.h"

namespace decant {

// Calls work(k, document) for documents[k], in any order, each once. `documents` rise.
template <class Work>
void each_in_parallel(const StoreReader& store, const std::vector<uint64_t>& documents, const Work& work) {
  constexpr size_t kAtOnce = 256;
  std::vector<StoredDocument> read;
  for (size_t begin = 0; begin < documents.size(); begin += kAtOnce) {
    read.resize(std::min(kAtOnce, documents.size() - begin));
    for (size_t i = 0; i < read.size(); ++i) read[i] = store.get(documents[begin + i]);
    tbb::parallel_for(size_t{0}, read.size(), [&](size_t i) { work(begin + i, read[i]); });
  }
}

}  // namespace decant
