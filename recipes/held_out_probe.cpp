#include "recipes/held_out_probe.h"

#include <cmath>

#include "core/error.h"
#include "core/file.h"
#include "core/model/score.h"
#include "data_pipeline/batch_source.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kRowTokens = 2048;  // of a forward

struct Sums {
  TokenFigures figures;
  double bits = 0, bytes = 0;

  void add(const Sums& other) {
    figures.loss.sum += other.figures.loss.sum;
    figures.loss.weight += other.figures.loss.weight;
    figures.right += other.figures.right;
    figures.tokens += other.figures.tokens;
    bits += other.bits;
    bytes += other.bytes;
  }
  Json json() const {
    return {{"held_out_loss", figures.loss.sum / figures.loss.weight},
            {"bits_per_byte", bits / bytes},
            {"accuracy", static_cast<double>(figures.right) / static_cast<double>(figures.tokens)}};
  }
};

Sums measure(const Decoder& model, const fs::path& shards, int64_t most_tokens) {
  Sums sums;
  int64_t seen = 0;
  for (const Batch& batch : read_all_batches(shards, kRowTokens)) {
    const TokenFigures one = evaluate_tokens(model, batch);
    sums.figures.loss.sum += one.loss.sum;
    sums.figures.loss.weight += one.loss.weight;
    sums.figures.right += one.right;
    sums.figures.tokens += one.tokens;
    seen += batch.size();
    if (seen >= most_tokens) break;
  }
  const Json index = read_json(shards / "index.json");
  const auto bytes = index.at("target_bytes").get<double>(), tokens = index.at("target_tokens").get<double>();
  sums.bits = sums.figures.loss.sum / std::log(2.0);
  sums.bytes = tokens > 0 ? static_cast<double>(sums.figures.tokens) * bytes / tokens : 0;
  return sums;
}

}  // namespace

Json measure_held_out(const Decoder& model, const Chain& chain, const std::vector<std::string>& tenants,
                      int64_t most_tokens) {
  Sums all;
  Json by_tenant = Json::object();
  for (const std::string& tenant : tenants) {
    const fs::path shards = chain.shards("held_out", tenant);
    if (!fs::exists(shards / "index.json")) continue;
    const Sums sums = measure(model, shards, most_tokens);
    if (sums.figures.tokens == 0) continue;
    all.add(sums);
    by_tenant[tenant] = sums.json();
  }
  check(all.figures.tokens > 0, chain.loaded.place("corpus.held_out_fraction"),
        ": there is no held-out conversation to measure on; raise it, or choose another corpus.split_salt");
  Json figures = all.json();
  figures["tenants"] = std::move(by_tenant);
  return figures;
}

}  // namespace decant
