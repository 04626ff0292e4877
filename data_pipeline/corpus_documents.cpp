#include "data_pipeline/corpus_documents.h"

#include <algorithm>

#include "core/hash.h"
#include "core/json.h"

namespace decant {

void CorpusDocuments::each(const std::function<void(const CorpusDocument&, const StoreRow&)>& work) const {
  store_.each_row([&](uint64_t i, const StoreRow& row) {
    if (!decisions_.kept(i)) return;
    work({i, decisions_[i].copies, decisions_[i].fate == Fate::kHeldOut, false, store_.name(row.tenant)},
         row);
  });
  const auto& replayed = decisions_.replayed();
  for (size_t k = 0; k < replayed.size(); ++k) {
    if (replayed[k].copies == 0) continue;
    const StoreRow row = earlier_.get(replayed[k].corpus, replayed[k].document).row();
    work({store_.documents() + k, replayed[k].copies, false, true,
          earlier_[replayed[k].corpus].store->name(row.tenant)},
         row);
  }
}

StoredDocument CorpusDocuments::get(uint64_t number) const {
  if (number < store_.documents()) return store_.get(number);
  const ReplayedDocument& replayed = decisions_.replayed().at(number - store_.documents());
  return earlier_.get(replayed.corpus, replayed.document);
}

const MutedDocument* CorpusDocuments::muted(uint64_t number) const {
  if (number < store_.documents()) return decisions_.muted(number);
  const ReplayedDocument& replayed = decisions_.replayed().at(number - store_.documents());
  return earlier_[replayed.corpus].decisions.muted(replayed.document);
}

uint32_t CorpusDocuments::target_bytes(uint64_t number, const StoreRow& row) const {
  const MutedDocument* of = muted(number);
  return of == nullptr ? row.target_bytes : of->target_bytes;
}

uint64_t CorpusDocuments::digest(const CorpusDocument& document, const StoreRow& row, uint64_t seed) const {
  const uint64_t facts[] = {row.digest, document.copies, row.judged};
  seed = xxh3_64({reinterpret_cast<const char*>(facts), sizeof facts}, seed);
  const MutedDocument* of = muted(document.number);
  if (of == nullptr) return seed;
  return xxh3_64({reinterpret_cast<const char*>(of->runs.data()), of->runs.size() * sizeof(of->runs[0])},
                 seed);
}

std::string CorpusDocuments::conversation_line(uint64_t number, const StoredDocument& document) const {
  const MutedDocument* of = muted(number);
  if (of == nullptr) return std::string(document.json()) + "\n";
  Json json = parse_json(document.json(), "store");
  for (const uint32_t turn : of->turns) json.at("messages").at(turn)["weight"] = 0;
  return json.dump() + "\n";
}

void CorpusDocuments::copy_tokens(uint64_t number, const StoredDocument& document, uint64_t first,
                                  uint64_t count, uint32_t* tokens, uint8_t* loss_weight) const {
  document.copy_tokens(first, count, tokens, loss_weight);
  const MutedDocument* of = muted(number);
  if (of == nullptr) return;
  for (const MutedDocument::Run& run : of->runs) {
    const uint64_t begin = std::max<uint64_t>(run.begin, first);
    const uint64_t end = std::min<uint64_t>(run.end, first + count);
    for (uint64_t t = begin; t < end; ++t) loss_weight[t - first] = static_cast<uint8_t>(run.weight);
  }
}

}  // namespace decant
