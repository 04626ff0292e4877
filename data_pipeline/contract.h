// The contract of a corpus: what must hold before anything is trained on it, each with a bound in the recipe.
// A broken one stops the run with exit status 3, like the gate of a release.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/json.h"

namespace decant {

class StoreReader;
class Decisions;
struct CorpusConfig;
struct CorpusJob;

struct ContractConfig {
  double min_supervised_share = 0;
  double max_supervised_share = 1;
  double max_too_long_share = 1;
  double max_dropped_token_share = 1;
  double max_duplicate_share = 1;
  int64_t max_overlap = 0;
  double min_round_trip = 1;
  int64_t max_doubled_bos = 0;
  double max_open_end_share = 1;
  int64_t max_pii_left = 0;
  double max_unknown_language_share = 1;
  std::map<std::string, double> min_language_share;
  double min_mean_tokens = 0;
  double max_mean_tokens = 0;
  double min_packing = 0;
  double max_drift = 1;
  std::string previous;

  static void visit(auto& c, auto&& field) {
    field("min_supervised_share", c.min_supervised_share, "of the training tokens, at least, are under loss");
    field("max_supervised_share", c.max_supervised_share, "of the training tokens, at most, are under loss");
    field("max_too_long_share", c.max_too_long_share, "of the documents, at most, do not fit into a row");
    field("max_dropped_token_share", c.max_dropped_token_share,
          "of all tokens, at most, are in documents that are not kept");
    field("max_duplicate_share", c.max_duplicate_share, "of the documents, at most, are duplicates");
    field("max_overlap", c.max_overlap, "training documents that say what a held-out one says, at most");
    field("min_round_trip", c.min_round_trip,
          "of 200 sampled documents, at least, decode to the text that the template gives");
    field("max_doubled_bos", c.max_doubled_bos, "sampled documents that begin with a special token twice");
    field("max_open_end_share", c.max_open_end_share,
          "of the sampled documents, at most, do not end their last answer with a special token under loss");
    field("max_pii_left", c.max_pii_left, "personal data that a second scan of the sample finds, at most");
    field("max_unknown_language_share", c.max_unknown_language_share,
          "of the documents, at most, are of no known language");
    field("min_language_share", c.min_language_share, "of the documents, at least, by language: {zh: 0.3}");
    field("min_mean_tokens", c.min_mean_tokens, "of a kept document");
    field("max_mean_tokens", c.max_mean_tokens, "of a kept document; 0: any");
    field("min_packing", c.min_packing, "of the places in packed training rows, at least, hold a token");
    field(
        "max_drift", c.max_drift,
        "total variation distance from last month of languages, lengths, tenants and reasons, each, at most");
    field("previous", c.previous, "last month's corpus folder, with its contract.json; empty: no comparison");
  }
  void validate(const Place& place) const;
};

// Measures a finished corpus with these counts; `previous` is the folder of last month's. {"checks":
// [{"name", "found", "bound", "ok"}], "measures", "distributions": {"language", "tokens", "tenant", "reason",
// "messages"}, "drift", "samples": [document numbers]}. No text of the corpus is in it.
Json measure_contract(const CorpusConfig& config, const StoreReader& store, const Decisions& decisions,
                      const CorpusJob& job, const Json& counts, const std::filesystem::path& previous);

// Error with exit status 3 that names every broken bound.
void check_contract(const Json& contract, const std::filesystem::path& folder);

}  // namespace decant
