// Rows for tokens beside an adapter (peft's trainable_token_indices): their gradients are those of the whole
// matrices, nothing else changes, and files, merge and resume keep them.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/file.h"
#include "core/kernels/head_cross_entropy.h"
#include "core/model/grow_vocabulary.h"
#include "core/tensor_file.h"
#include "lora/attach.h"
#include "lora/merge.h"
#include "lora/soup.h"
#include "lora/tenant_slots.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"
#include "tests/train/tiny_training.h"
#include "train/grouped.h"
#include "train/preference.h"

namespace decant {
namespace {

namespace fs = std::filesystem;

Decoder tiny(bool tied, Dtype dtype = Dtype::kFp32) {
  ModelConfig config = test::tiny_model_config();
  config.tie_word_embeddings = tied;
  config.source["tie_word_embeddings"] = tied;
  return random_decoder(config, dtype, 1, 0.2);
}

LoraConfig with_rows(std::vector<int64_t> ids = {2, 9, 33}) {
  LoraConfig config;
  config.rank = 4;
  for (const int64_t id : ids) config.trainable_tokens.push_back(concat("<", id, ">"));
  config.trainable_token_ids = std::move(ids);
  return config;
}

at::Tensor logits(const Decoder& model) {
  return head_logits(forward(model, make_batch({{1, 2, 9, 33, 60, 2}, {7, 8, 9}})), model.head().value,
                     false);
}

TrainResult trained(Decoder& model, const LoraConfig& lora, const fs::path& folder, int64_t stop = -1) {
  attach_lora(model, lora);
  StepBatches batches = test::tiny_batches();
  batches.step = [inner = batches.step, stop](int64_t step) {
    if (step == stop) fail_try_again("killed by the test");
    return inner(step);
  };
  return train(model, model.adapter_parameters(), batches, next_token_loss, test::tiny_config(), folder);
}

class TokenRowsOf : public testing::TestWithParam<std::pair<bool, Dtype>> {
 protected:
  bool tied() const { return GetParam().first; }
  Dtype dtype() const { return GetParam().second; }
};

TEST_P(TokenRowsOf, GradientsAreRowsOfTheWholeMatrices) {
  Decoder model = tiny(tied(), dtype()), whole = tiny(tied(), dtype());
  attach_lora(model, with_rows());
  make_trainable(whole);
  const Batch batch = make_batch({{1, 2, 9, 33, 60, 2}, {7, 8, 9, 2}});
  for (Decoder* m : {&model, &whole}) {
    Saved saved;
    const auto hidden = forward(*m, batch, &saved);
    const auto result = next_token_loss(*m, batch, hidden, 0.25, true);
    backward(*m, batch, saved, result.loss.d_hidden);
  }
  const auto ids = at::tensor({2, 9, 33}, at::kLong);
  const auto expect_rows = [&](const Parameter& rows, const Parameter& matrix) {
    const auto want = matrix.grad.index_select(0, ids);
    EXPECT_GT(want.abs().max().item<double>(), 1e-3);
    EXPECT_LE((rows.grad - want).abs().max().item<double>(),
              (dtype() == Dtype::kBf16 ? 1e-2 : 1e-5) * want.abs().max().item<double>());
  };
  ASSERT_TRUE(model.token_rows);
  expect_rows(model.token_rows->embedding, whole.embed_tokens);
  EXPECT_EQ(model.token_rows->head.defined(), !tied());
  if (!tied()) expect_rows(model.token_rows->head, whole.lm_head);
}

TEST_P(TokenRowsOf, TrainOnlyTheirRowsAndComeOffAgain) {
  Decoder model = tiny(tied(), dtype());
  const Decoder before = tiny(tied(), dtype());
  const at::Tensor base_logits = logits(before);
  const auto folder = test::scratch_folder();
  const LoraConfig lora = with_rows();
  const TrainResult result = trained(model, lora, folder / "run");
  const at::Tensor adapted = logits(model);
  const auto changed = (model.embed_tokens.value != before.embed_tokens.value).any(1).nonzero().flatten();
  EXPECT_TRUE(at::equal(changed, at::tensor({2, 9, 33}, at::kLong))) << changed;
  if (!tied()) {
    EXPECT_TRUE(at::equal((model.lm_head.value != before.lm_head.value).any(1).nonzero().flatten(), changed));
  }
  const Adapter adapter = collect_adapter(model, lora, "base", "", result.masters);
  EXPECT_EQ(adapter.tokens.ids, (std::vector<int64_t>{2, 9, 33}));
  write_adapter(folder / "adapter", adapter);

  // Without the adapter the base is as it was, and the reference of a preference loss is that base.
  const Reference reference = base_as_reference(model);
  const Batch batch = make_batch({{1, 2, 9, 33}});
  Decoder plain = tiny(tied(), dtype());
  EXPECT_EQ(reference(batch), model_as_policy(plain)(batch));
  EXPECT_TRUE(at::equal(adapted, logits(model)));
  for (Linear* linear : model.linears()) linear->terms.clear();
  remove_token_rows(model);
  EXPECT_TRUE(at::equal(base_logits, logits(model)));
  for (size_t i = 0; i < model.parameters().size(); ++i)
    EXPECT_TRUE(at::equal(model.parameters()[i]->value, before.parameters()[i]->value));

  // From the file, and merged.
  const Adapter read = read_adapter(folder / "adapter");
  EXPECT_TRUE(at::equal(read.tokens.embedding, adapter.tokens.embedding));
  EXPECT_EQ(read.tokens.head.defined(), !tied());
  apply_adapter(model, read);
  EXPECT_TRUE(at::equal(adapted, logits(model)));
  EXPECT_ERROR(apply_adapter(model, read), "has an adapter with rows for tokens already");
  merge_adapter(model, read);
  EXPECT_FALSE(model.token_rows);
  EXPECT_LE((logits(model) - adapted).abs().max().item<double>(), dtype() == Dtype::kBf16 ? 0.1 : 1e-4);
  EXPECT_TRUE(at::equal(model.embed_tokens.value.index_select(0, changed),
                        adapter.tokens.embedding.to(model.dtype())));
  EXPECT_ERROR(soup({{read, 1.0}, {read, 1.0}}, 0), "rows for tokens");
}

TEST_P(TokenRowsOf, ResumedAndGroupedTheyHaveTheSameBytes) {
  const auto folder = test::scratch_folder();
  const LoraConfig lora = with_rows();
  const auto save = [&](const Decoder& model, const TrainResult& result, const fs::path& to) {
    write_adapter(to, collect_adapter(model, lora, "base", "", result.masters));
  };
  Decoder undisturbed = tiny(tied(), dtype());
  save(undisturbed, trained(undisturbed, lora, folder / "whole"), folder / "whole/adapter");
  Decoder killed = tiny(tied(), dtype()), resumed = tiny(tied(), dtype());
  EXPECT_ERROR(trained(killed, lora, folder / "resumed", 5), "killed by the test");
  save(resumed, trained(resumed, lora, folder / "resumed"), folder / "resumed/adapter");

  // Two of them in the one place of a group.
  Decoder base = tiny(tied(), dtype());
  open_slots(base, 1);
  const GroupedBase grouped{
      &base, [&](int64_t slot, int64_t begin, int64_t end) { set_slot_rows(base, slot, begin, end); },
      [&](int64_t slot) { clear_slot(base, slot); }};
  std::vector<GroupMember> members(2);
  for (size_t i = 0; i < 2; ++i) {
    members[i].name = concat("member-", i);
    members[i].batches = [] { return test::tiny_batches(); };
    members[i].config = test::tiny_config();
    members[i].folder = folder / members[i].name;
    members[i].attach = [&](int64_t slot) {
      attach_to_slot(base, slot, lora);
      return slot_parameters(base, slot);
    };
    members[i].finish = [&, i](int64_t slot, const TrainResult& result) {
      const SoleAdapter sole(base, slot);
      save(base, result, members[i].folder / "adapter");
    };
  }
  for (const auto& outcome : train_grouped(grouped, members, next_token_losses, {1, 64}))
    EXPECT_TRUE(outcome.result) << outcome.reason;
  for (const char* other : {"resumed", "member-0", "member-1"}) {
    EXPECT_EQ(read_file(folder / "whole/adapter/adapter_model.safetensors"),
              read_file(folder / other / "adapter/adapter_model.safetensors"))
        << other;
    EXPECT_EQ(read_file(folder / "whole/metrics.jsonl"), read_file(folder / other / "metrics.jsonl"))
        << other;
  }
  const Decoder fresh = tiny(tied(), dtype());
  EXPECT_TRUE(at::equal(base.embed_tokens.value, fresh.embed_tokens.value))
      << "the shared base is whole again";
}

INSTANTIATE_TEST_SUITE_P(Models, TokenRowsOf,
                         testing::Values(std::pair{true, Dtype::kFp32}, std::pair{false, Dtype::kFp32},
                                         std::pair{true, Dtype::kBf16}, std::pair{false, Dtype::kBf16}),
                         [](const auto& info) {
                           return std::string(info.param.first ? "tied" : "untied") +
                                  (info.param.second == Dtype::kFp32 ? "_fp32" : "_bf16");
                         });

TEST(TokenRows, GoOnFromAnAdapterThatHasSome) {
  Decoder model = tiny(true);
  const LoraConfig lora = with_rows({2, 9});
  const auto folder = test::scratch_folder();
  const TrainResult result = trained(model, lora, folder / "run");
  const Adapter start = collect_adapter(model, lora, "base", "", result.masters);
  Decoder more = tiny(true);
  attach_lora(more, with_rows({2, 5, 9}), &start);
  EXPECT_TRUE(at::equal(more.token_rows->embedding.value.select(0, 0), start.tokens.embedding.select(0, 0)));
  EXPECT_TRUE(
      at::equal(more.token_rows->embedding.value.select(0, 1), tiny(true).embed_tokens.value.select(0, 5)));
  Decoder fewer = tiny(true), none = tiny(true);
  EXPECT_ERROR(attach_lora(fewer, with_rows({2}), &start), "a row for the token 9, which is not among");
  EXPECT_ERROR(attach_lora(none, with_rows({}), &start), "rows for 2 tokens; name them");
}

TEST(TokenRows, RefuseWhatDoesNotFit) {
  Decoder model = tiny(true);
  EXPECT_ERROR(attach_lora(model, with_rows({64})), "the id 64 is outside the model's vocabulary of 64");
  Decoder places = tiny(true);
  open_slots(places, 2);
  EXPECT_ERROR(attach_to_slot(places, 0, with_rows()), "train one at a time");

  Decoder untied = tiny(false), tied = tiny(true);
  attach_lora(untied, with_rows());
  const Adapter adapter = collect_adapter(untied, with_rows(), "base", "", {});
  EXPECT_ERROR(apply_adapter(tied, adapter), "rows for a head of its own");

  const auto folder = test::scratch_folder();
  write_adapter(folder, adapter);
  const auto with = [&](const Json& indices) {
    Json config = read_json(folder / "adapter_config.json");
    config["trainable_token_indices"] = indices;
    write_json(folder / "adapter_config.json", config);
    return read_adapter(folder);
  };
  EXPECT_EQ(read_json(folder / "adapter_config.json")["trainable_token_indices"].dump(),
            R"({"embed_tokens":[2,9,33],"lm_head":[2,9,33]})");
  EXPECT_ERROR(with({{"embed_tokens", {2, 9, 33}}, {"lm_head", {2, 9}}}), "expected the same tokens");
  EXPECT_ERROR(with({{"other", {2, 9, 33}}}), "rows of 'other' are not supported");
  EXPECT_ERROR(with({2, 9}), "expected [2, width]");
  EXPECT_ERROR(with({2, 9, -1}), "must hold ids, found -1");
  EXPECT_ERROR(with({2, 9, 9}), "names a token twice");
  EXPECT_ERROR(with({2, 9, 33}),
               "is not a name of an adapter");  // the head's rows, which the list does not name
}

TEST(GrowVocabulary, NewRowsAreTheMeanOfTheOthers) {
  for (const bool tied : {true, false}) {
    Decoder model = tiny(tied);
    const Decoder before = tiny(tied);
    // 60 tokens in 64 rows: two of the padding rows are used, then the matrices grow.
    for (const int64_t vocabulary : {62, 70}) {
      grow_vocabulary(model, 60, vocabulary);
      EXPECT_EQ(model.config.vocab_size, std::max<int64_t>(64, vocabulary));
      const auto check_matrix = [&](const Parameter& now, const Parameter& then) {
        EXPECT_EQ(now.value.size(0), model.config.vocab_size);
        EXPECT_TRUE(at::equal(now.value.narrow(0, 0, 60), then.value.narrow(0, 0, 60)));
        const auto mean = then.value.narrow(0, 0, 60).to(at::kDouble).mean(0);
        EXPECT_LE(
            (now.value.narrow(0, 60, vocabulary - 60).to(at::kDouble) - mean).abs().max().item<double>(),
            1e-6);
      };
      check_matrix(model.embed_tokens, before.embed_tokens);
      if (!tied) check_matrix(model.lm_head, before.lm_head);
    }
    const auto folder = test::scratch_folder() / (tied ? "tied" : "untied");
    save_model(model, folder, Dtype::kFp32);
    EXPECT_EQ(load_model(folder, Dtype::kFp32).config.vocab_size, 70);
  }
}

}  // namespace
}  // namespace decant
