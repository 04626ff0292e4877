// The documents of a corpus as they are learned from: the month's, and after them those that are replayed,
// each with the copies and the loss weights that were decided.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "data_pipeline/corpus_store.h"
#include "data_pipeline/decisions.h"
#include "data_pipeline/earlier_corpora.h"

namespace decant {

struct CorpusDocument {
  uint64_t number = 0;  // of the store, or beyond: of the replayed ones
  uint32_t copies = 1;
  bool held_out = false, replayed = false;
  std::string tenant;
};

class CorpusDocuments {
 public:
  CorpusDocuments(const StoreReader& store, const Decisions& decisions, const EarlierCorpora& earlier)
      : store_(store), decisions_(decisions), earlier_(earlier) {}

  // Those that are kept, in the order of the store; replayed ones by month.
  void each(const std::function<void(const CorpusDocument&, const StoreRow&)>& work) const;

  StoredDocument get(uint64_t number) const;
  // Null where all turns are learned from.
  const MutedDocument* muted(uint64_t number) const;
  uint32_t target_bytes(uint64_t number, const StoreRow& row) const;
  // What changes with the document, its copies and its weights.
  uint64_t digest(const CorpusDocument& document, const StoreRow& row, uint64_t seed) const;

  // The conversation as one line of JSON, turns that are not learned from with weight 0.
  std::string conversation_line(uint64_t number, const StoredDocument& document) const;
  // As StoredDocument::copy_tokens.
  void copy_tokens(uint64_t number, const StoredDocument& document, uint64_t first, uint64_t count,
                   uint32_t* tokens, uint8_t* loss_weight) const;

  const StoreReader& store() const { return store_; }
  const Decisions& decisions() const { return decisions_; }
  const EarlierCorpora& earlier() const { return earlier_; }

 private:
  const StoreReader& store_;
  const Decisions& decisions_;
  const EarlierCorpora& earlier_;
};

}  // namespace decant
