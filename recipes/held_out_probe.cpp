#include "recipes/held_out_probe.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/file.h"
#include "core/model/score.h"
#include "data_pipeline/batch_source.h"
#include "data_pipeline/corpus_store.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kRowTokens = 2048;  // of a forward

struct Sums {
  TokenFigures figures;
  double bytes = 0;

  void add(const TokenFigures& one, double bytes_per_token) {
    figures.add(one);
    bytes += static_cast<double>(one.tokens) * bytes_per_token;
  }
  Json json() const {
    return {{"held_out_loss", figures.loss.sum / figures.loss.weight},
            {"bits_per_byte", figures.loss.sum / std::log(2.0) / bytes},
            {"accuracy", static_cast<double>(figures.right) / static_cast<double>(figures.tokens)}};
  }
};

Json by_name(const std::map<std::string, Sums>& sums) {
  Json json = Json::object();
  for (const auto& [name, of] : sums)
    if (of.figures.tokens > 0) json[name] = of.json();
  return json;
}

}  // namespace

HeldOut::HeldOut(const Chain& chain, std::vector<std::string> tenants, int64_t most_tokens)
    : chain_(chain), tenants_(std::move(tenants)), most_tokens_(most_tokens) {}

HeldOut::Rows HeldOut::read(const std::string& tenant) const {
  Rows rows;
  const fs::path shards = chain_.shards("held_out", tenant);
  if (!fs::exists(shards / "index.json")) return rows;
  std::map<std::string, std::string> source_of;  // by conversation
  const std::string lines = read_file(chain_.conversations("held_out", tenant));
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = std::min(lines.find('\n', begin), lines.size());
    const Json line =
        parse_json(std::string_view(lines).substr(begin, end - begin), "held-out conversations");
    const auto file = line.at("source").at("file").get<std::string>();
    const auto named = source_of_file_.find(file);
    source_of[line.at("id").get<std::string>()] = named == source_of_file_.end() ? file : named->second;
    begin = end + 1;
  }
  // A document is a conversation, or a part of it: id#2, id#chosen.
  const auto source = [&](const std::string& id) {
    auto found = source_of.find(id);
    if (found == source_of.end()) found = source_of.find(id.substr(0, id.rfind('#')));
    return found == source_of.end() ? std::string("unknown") : found->second;
  };
  std::vector<std::vector<std::string>> ids;
  auto batches = read_all_batches(shards, kRowTokens, most_tokens_, &ids);
  for (size_t i = 0; i < batches.size(); ++i) {
    Row& row = rows.rows.emplace_back(Row{std::move(batches[i]), {}});
    for (const auto& id : ids[i]) row.sources.push_back(source(id));
  }
  const Json index = read_json(shards / "index.json");
  const auto bytes = index.at("target_bytes").get<double>(), tokens = index.at("target_tokens").get<double>();
  rows.bytes_per_token = tokens > 0 ? bytes / tokens : 0;
  return rows;
}

Json HeldOut::measure(const Decoder& model) {
  if (source_of_file_.empty()) {
    const StoreReader store(chain_.run.step_path("corpus/store"));
    for (const Json& input : store.facts().at("inputs"))
      if (input.at("source") != kUnnamedSource)
        source_of_file_[input.at("name").get<std::string>()] = input.at("source").get<std::string>();
  }
  Sums all;
  std::map<std::string, Sums> by_tenant, by_source;
  int64_t tokens = 0;
  for (const std::string& tenant : tenants_) {
    const auto kept = kept_.find(tenant);
    Rows read_now;
    if (kept == kept_.end()) read_now = read(tenant);
    const Rows& rows = kept == kept_.end() ? read_now : kept->second;
    for (const Row& row : rows.rows) {
      const auto figures = evaluate_documents(model, row.batch);
      tokens += row.batch.size();
      for (size_t d = 0; d < figures.size(); ++d) {
        by_tenant[tenant].add(figures[d], rows.bytes_per_token);
        by_source[row.sources[d]].add(figures[d], rows.bytes_per_token);
      }
    }
    keeps_ = keeps_ && tokens <= kKeptTokens;
    if (!keeps_) kept_.clear();
    if (keeps_ && kept == kept_.end()) kept_[tenant] = std::move(read_now);
  }
  for (const auto& [tenant, of] : by_tenant) {
    all.figures.add(of.figures);
    all.bytes += of.bytes;
  }
  check(all.figures.tokens > 0, chain_.loaded.place("corpus.held_out_fraction"),
        ": there is no held-out conversation to measure on; raise it, or choose another corpus.split_salt");
  Json json = all.json();
  json["tenants"] = by_name(by_tenant);
  json["sources"] = by_name(by_source);
  return json;
}

}  // namespace decant
