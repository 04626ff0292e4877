// Measurements on the corpus's held-out rows while a model trains (train/probe.h).
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/model/decoder.h"
#include "recipes/chain.h"

namespace decant {

// The held-out rows of some tenants. They stay in memory from the first measurement on while all of them
// together are at most kKeptTokens (12 bytes a token); else every measurement reads them again.
class HeldOut {
 public:
  static constexpr int64_t kKeptTokens = int64_t{1} << 22;

  // Whole rows of each tenant until `most_tokens` of it are measured.
  HeldOut(const Chain& chain, std::vector<std::string> tenants, int64_t most_tokens);

  // {"held_out_loss": nats per token under loss, "bits_per_byte", "accuracy": share of the tokens under loss
  // that were the most likely ones, "tenants": {name: the same}, "sources": {name: the same}}. A source is
  // called what the recipe calls it, or by its file where it has no name. Bits per byte are worked out with
  // the tokens a byte of all the tenant's held-out text. Error when none of the tenants has a held-out row.
  Json measure(const Decoder& model);

 private:
  struct Row {
    Batch batch;
    std::vector<std::string> sources;  // of its documents
  };
  struct Rows {
    std::vector<Row> rows;
    double bytes_per_token = 0;
  };
  Rows read(const std::string& tenant) const;

  const Chain& chain_;
  std::vector<std::string> tenants_;
  int64_t most_tokens_;
  std::map<std::string, std::string> source_of_file_;
  std::map<std::string, Rows> kept_;
  bool keeps_ = true;
};

}  // namespace decant
