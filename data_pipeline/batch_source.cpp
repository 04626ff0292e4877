#include "data_pipeline/batch_source.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>

#include "core/error.h"
#include "core/random.h"
#include "data_pipeline/shard.h"

namespace decant {

namespace {

// Rows in this order, as batches of whole rows of at most max_tokens, until they hold most_tokens.
std::vector<Batch> batches_of(const ShardReader& reader, const std::vector<int64_t>& rows, int64_t max_tokens,
                              bool with_rejected, int64_t most_tokens = std::numeric_limits<int64_t>::max(),
                              std::vector<std::vector<std::string>>* ids_of_batches = nullptr) {
  std::vector<Batch> batches;
  std::vector<std::vector<int64_t>> documents;
  std::vector<std::vector<float>> weights;
  std::vector<uint8_t> roles;
  std::vector<int64_t> pairs;
  std::vector<std::string> names;
  int64_t tokens = 0, held = 0;
  const auto close_batch = [&] {
    if (!documents.empty()) {
      Batch& batch = batches.emplace_back(make_batch(documents, weights));
      held += batch.size();
      if (ids_of_batches != nullptr) ids_of_batches->push_back(names);
      if (with_rejected) {
        batch.document_role = at::tensor(at::ArrayRef<uint8_t>(roles), at::kByte);
        batch.document_pair = at::tensor(at::ArrayRef<int64_t>(pairs), at::kLong);
      }
    }
    roles.clear();
    names.clear();
    pairs.clear();
    documents.clear();
    weights.clear();
    tokens = 0;
  };
  for (const int64_t row : rows) {
    const int64_t length = reader.row_tokens(row);
    if (tokens + length > max_tokens) close_batch();
    if (held >= most_tokens) return batches;
    tokens += length;
    const RowView view = reader.row_view(row);
    for (size_t d = 0; d < view.documents(); ++d) {
      if (view.role(d) == DocumentRole::kRejected && !with_rejected) continue;
      roles.push_back(static_cast<uint8_t>(view.role(d)));
      if (ids_of_batches != nullptr) names.emplace_back(view.id(d));
      pairs.push_back(view.pair(d));
      const uint64_t begin = view.document_offsets[d] - view.document_offsets[0];
      const uint64_t size = view.document_offsets[d + 1] - view.document_offsets[d];
      const auto ids = view.tokens.subspan(begin, size);
      documents.emplace_back(ids.begin(), ids.end());
      auto& weight = weights.emplace_back();
      weight.reserve(size);
      for (const uint8_t w : view.loss_weight.subspan(begin, size))
        weight.push_back(static_cast<float>(w) / 255.0f);
    }
  }
  close_batch();
  return batches;
}

int64_t longest_row(const ShardReader& reader) {
  int64_t longest = 0;
  for (int64_t i = 0; i < reader.rows(); ++i) longest = std::max(longest, reader.row_tokens(i));
  return longest;
}

bool has_target(const ShardReader& reader) {
  for (int64_t i = 0; i < reader.rows(); ++i) {
    const auto weights = reader.row_view(i).loss_weight;
    if (std::any_of(weights.begin(), weights.end(), [](uint8_t w) { return w > 0; })) return true;
  }
  return false;
}

}  // namespace

void BatchConfig::validate(const Place& place) const {
  check(tokens_per_step >= 1, place("tokens_per_step"), ": must be at least 1, found ", tokens_per_step);
  check(tokens_per_micro_batch >= 1, place("tokens_per_micro_batch"), ": must be at least 1, found ",
        tokens_per_micro_batch);
  check(seed >= 0, place("seed"), ": must not be negative, found ", seed);
}

StepBatches open_batches(const std::filesystem::path& shards, const BatchConfig& config,
                         const std::string& tokenizer_sha256, const std::string& template_sha256,
                         Answers answers) {
  const auto reader = std::make_shared<const ShardReader>(shards);
  const std::string where = shards.string();
  const auto check_digest = [&](const char* what, const std::string& expected, const std::string& found) {
    check(expected.empty() || expected == found, where, ": the shards were made with another ", what,
          " than the model's: sha256 expected ", expected, ", found ", found,
          "; prepare the corpus with this model");
  };
  check_digest("tokenizer", tokenizer_sha256, reader->header().tokenizer_sha256);
  check_digest("chat template", template_sha256, reader->header().template_sha256);
  check(reader->rows() > 0, where, ": no rows to train on");
  const RoleCounts& roles = reader->roles();
  check(
      roles.rejected == 0 || answers != Answers::kLearned, where, ": ", roles.rejected, " of ",
      reader->documents(),
      " documents are answers that people rejected: to learn them like any other would teach them; prepare ",
      "the corpus with 'corpus.preference: chosen', or train with an 'objective' that compares answers (dpo, "
      "orpo, kto)");
  check(
      answers != Answers::kPairs || roles.pairs > 0, where,
      ": no pair of a chosen and a rejected answer, which the objective compares; give the corpus such pairs "
      "and 'corpus.preference: pairs'");
  check(answers != Answers::kJudged || roles.chosen + roles.rejected > 0, where,
        ": no judged answer, which the objective needs; give the corpus feedback and 'corpus.preference: "
        "pairs'");
  check(has_target(*reader), where, ": no token has a loss weight: there is no answer to learn from");
  const int64_t longest = longest_row(*reader);
  const auto check_room = [&](const char* key, int64_t room) {
    check(longest <= room, where, ": a row of ", longest, " tokens does not fit into '", key, "' ", room,
          "; raise '", key, "' to at least ", longest,
          ", or prepare the corpus with a smaller 'sequence_length'");
  };
  check_room("tokens_per_step", config.tokens_per_step);
  check_room("tokens_per_micro_batch", config.tokens_per_micro_batch);

  // The same number of rows in every step: then an epoch is every row once whatever the order, with the same
  // number of steps.
  const int64_t rows = reader->rows();
  const int64_t rows_per_step = std::min(rows, config.tokens_per_step / longest);
  StepBatches result;
  result.steps_per_epoch = (rows + rows_per_step - 1) / rows_per_step;
  result.tokens_per_epoch = reader->tokens();
  result.step = [reader, config, answers, rows, rows_per_step, steps = result.steps_per_epoch](int64_t step) {
    check(step >= 0, "batches: step ", step, " asked for");
    const auto order = permutation(rows, static_cast<uint64_t>(config.seed),
                                   purpose_stream(Purpose::kShuffle, static_cast<uint64_t>(step / steps)));
    const int64_t begin = step % steps * rows_per_step, end = std::min(rows, begin + rows_per_step);
    return batches_of(*reader, {order.begin() + begin, order.begin() + end}, config.tokens_per_micro_batch,
                      answers != Answers::kLearned);
  };
  return result;
}

std::vector<Batch> read_all_batches(const std::filesystem::path& shards, int64_t max_tokens,
                                    int64_t most_tokens, std::vector<std::vector<std::string>>* ids) {
  const ShardReader reader(shards);
  const int64_t longest = longest_row(reader);
  check(longest <= max_tokens, shards.string(), ": a row of ", longest,
        " tokens does not fit into batches of ", max_tokens);
  std::vector<int64_t> rows(static_cast<size_t>(reader.rows()));
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int64_t>(i);
  return batches_of(reader, rows, max_tokens, false, most_tokens, ids);
}

}  // namespace decant
