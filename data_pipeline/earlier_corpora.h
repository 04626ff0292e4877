// The finished corpora of earlier months, for replay: their stores and what was decided of every document.
//
// A month is replayed from its store, not from its shards: so a document comes back with its source, its
// customer and its text, and what has been erased from that store cannot come back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/json.h"
#include "data_pipeline/build_store.h"
#include "data_pipeline/corpus_config.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/decisions.h"

namespace decant {

struct EarlierCorpus {
  std::string period;
  std::string digest;  // of its documents and decisions
  std::unique_ptr<StoreReader> store;
  Decisions decisions;
};

class EarlierCorpora {
 public:
  EarlierCorpora() = default;
  // Those that `mix.replay_from` names and that are of a month before the job's, by month. None when nothing
  // is to be replayed. A glob may match nothing (the first month); a folder without one must be there. Error
  // for a corpus that is not finished, whose contract is broken, or that was made with another tokenizer,
  // chat template or key of the surrogates, since its tokens (its customers) are not this corpus's.
  EarlierCorpora(const CorpusConfig& config, const CorpusJob& job);

  size_t size() const { return corpora_.size(); }
  const EarlierCorpus& operator[](size_t corpus) const { return corpora_[corpus]; }
  // A document. Files of one corpus are open at a time: go through them corpus by corpus.
  StoredDocument get(size_t corpus, uint64_t document) const;
  // Changes with any document or decision of any of them; "" where there is none.
  std::string digest() const;
  // [{"period", "sha256"}] for the lineage.
  Json lineage() const;

 private:
  std::vector<EarlierCorpus> corpora_;
  mutable size_t open_ = 0;
};

}  // namespace decant
