// Many tenants on one base: what each gets is what it gets alone, bit for bit, whoever else takes part and
// whatever becomes of them.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <sstream>

#include "core/file.h"
#include "core/json.h"
#include "core/kernels/gemm.h"
#include "core/tensor_file.h"
#include "lora/tenant_slots.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"
#include "tests/train/tiny_training.h"
#include "train/grouped.h"

namespace decant {
namespace {

namespace fs = std::filesystem;

struct Tenant {
  std::string name;
  LoraConfig lora;
  TrainConfig train;
  uint64_t data;
  int64_t longest;  // of a document
};

// Tenants that differ in everything that may differ.
std::vector<Tenant> tenants() {
  std::vector<Tenant> all;
  for (uint64_t i = 0; i < 5; ++i) {
    Tenant t;
    t.name = concat("tenant-", i);
    t.lora.rank = 2 + static_cast<int64_t>(3 * i);
    t.lora.seed = static_cast<int64_t>(i);
    t.lora.rslora = i % 2 == 0;
    if (i == 1 || i == 4) t.lora.dropout = 0.1 * static_cast<double>(i);
    if (i == 2) t.lora.targets = {"q_proj", "layers.1.mlp.down_proj"};
    t.train = test::tiny_config();
    t.train.steps = 6 + static_cast<int64_t>(5 * i % 9);
    t.train.optimizer.learning_rate = 1e-2 / static_cast<double>(1 + i);
    t.train.optimizer.max_gradient_norm = i == 3 ? 0.05 : 1.0;
    t.train.checkpoint_activations = i == 1 ? Recompute::kYes : Recompute::kNo;
    t.data = 10 + i;
    t.longest = 5 + static_cast<int64_t>(9 * i);
    all.push_back(t);
  }
  return all;
}

StepBatches batches_of(const Tenant& tenant) {
  StepBatches batches;
  batches.steps_per_epoch = 4;
  batches.tokens_per_epoch = 100;
  batches.step = [tenant](int64_t step) {
    auto draw = [&, n = uint64_t{0}](int64_t below) mutable {
      return static_cast<int64_t>(
          static_cast<double>(below) *
          uniform(tenant.data, purpose_stream(Purpose::kTest, static_cast<uint64_t>(step)), n++));
    };
    std::vector<Batch> micro;
    const int64_t count = 1 + draw(3);
    for (int64_t m = 0; m < count; ++m) {
      std::vector<std::vector<int64_t>> documents(static_cast<size_t>(1 + draw(3)));
      for (auto& document : documents) {
        document.resize(static_cast<size_t>(2 + draw(tenant.longest)));
        for (auto& id : document) id = draw(64);
      }
      micro.push_back(make_batch(documents));
    }
    return micro;
  };
  return batches;
}

Decoder base(Dtype dtype) { return random_decoder(test::tiny_model_config(), dtype, 1); }

void save(const Decoder& model, const Tenant& tenant, const TrainResult& result, const fs::path& folder) {
  write_adapter(folder / "adapter", collect_adapter(model, tenant.lora, "base", "", result.masters));
}

void train_alone(const Tenant& tenant, Dtype dtype, const fs::path& folder) {
  Decoder model = base(dtype);
  attach_lora(model, tenant.lora);
  const auto result = train(model, model.adapter_parameters(), batches_of(tenant), next_token_loss,
                            tenant.train, folder / tenant.name);
  save(model, tenant, result, folder / tenant.name);
}

struct Change {
  std::function<StepBatches(const Tenant&)> batches = batches_of;
  std::function<GroupObjective()> objective = [] { return GroupObjective(next_token_losses); };
};

std::vector<GroupOutcome> train_together(const std::vector<Tenant>& all, Dtype dtype,
                                         const GroupConfig& config, const fs::path& folder,
                                         const Change& change = {}) {
  Decoder model = base(dtype);
  open_slots(model, config.slots);
  GroupedBase grouped{
      &model, [&](int64_t slot, int64_t begin, int64_t end) { set_slot_rows(model, slot, begin, end); },
      [&](int64_t slot) { clear_slot(model, slot); }};
  std::vector<GroupMember> members;
  for (const auto& tenant : all) {
    GroupMember m;
    m.name = tenant.name;
    m.batches = [&] { return change.batches(tenant); };
    m.config = tenant.train;
    m.folder = folder / tenant.name;
    m.attach = [&](int64_t slot) {
      attach_to_slot(model, slot, tenant.lora);
      return slot_parameters(model, slot);
    };
    m.finish = [&, at = m.folder](int64_t slot, const TrainResult& result) {
      const SoleAdapter sole(model, slot);
      write_adapter(at / "adapter", collect_adapter(model, tenant.lora, "base", "", result.masters));
    };
    members.push_back(std::move(m));
  }
  return train_grouped(grouped, members, change.objective(), config);
}

const std::vector<std::string> kFiles = {"metrics.jsonl", "adapter/adapter_model.safetensors",
                                         "adapter/adapter_config.json"};

// The losses of metrics.jsonl, one a step.
std::vector<double> losses_of(const fs::path& metrics) {
  std::vector<double> losses;
  std::istringstream lines(read_file(metrics));
  for (std::string line; std::getline(lines, line);) losses.push_back(parse_json(line, "metrics")["loss"]);
  return losses;
}

void expect_same_files(const fs::path& a, const fs::path& b, const std::string& tenant) {
  // The plain forms have no panels: a row's bits depend on what is around it, and the bytes are the same but
  // for rounding.
  if (use_plain_kernels(at::empty({0}))) {
    const auto of_a = losses_of(a / tenant / "metrics.jsonl"), of_b = losses_of(b / tenant / "metrics.jsonl");
    ASSERT_EQ(of_a.size(), of_b.size());
    ASSERT_GE(of_a.size(), 4U);
    for (size_t i = 0; i < of_a.size(); ++i)
      EXPECT_NEAR(of_a[i] / of_b[i], 1, 1e-4) << tenant << " step " << i;
    return;
  }
  for (const auto& file : kFiles)
    EXPECT_EQ(read_file(a / tenant / file), read_file(b / tenant / file)) << tenant << "/" << file;
}

class Grouped : public ::testing::TestWithParam<Dtype> {};

TEST_P(Grouped, EachTenantGetsTheBytesThatItGetsAlone) {
  const auto folder = test::scratch_folder();
  const auto all = tenants();
  for (const auto& tenant : all) train_alone(tenant, GetParam(), folder / "alone");
  struct Case {
    int64_t slots, tokens;
  };
  int cases = 0;
  for (const Case c : {Case{5, 64}, Case{5, 1024}, Case{2, 256}, Case{1, 1}, Case{3, 40}}) {
    const auto together = folder / concat("together-", c.slots, "-", c.tokens);
    const auto outcomes = train_together(all, GetParam(), {c.slots, c.tokens}, together);
    ASSERT_EQ(outcomes.size(), all.size());
    for (size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(outcomes[i].name, all[i].name);
      ASSERT_TRUE(outcomes[i].result) << outcomes[i].reason;
      EXPECT_EQ(outcomes[i].result->steps, all[i].train.steps);
      expect_same_files(folder / "alone", together, all[i].name);
    }
    ++cases;
  }
  EXPECT_EQ(cases, 5);
  // The comparison can fail: tenants differ from each other.
  EXPECT_NE(read_file(folder / "alone/tenant-0/metrics.jsonl"),
            read_file(folder / "alone/tenant-1/metrics.jsonl"));
}

TEST_P(Grouped, ASegmentAtATimeGivesTheSameBytesAsTheSharedHead) {
  const auto folder = test::scratch_folder();
  const auto all = tenants();
  Change change;
  change.objective = [] { return each_segment(next_token_loss); };
  train_together(all, GetParam(), {5, 256}, folder / "shared");
  train_together(all, GetParam(), {5, 256}, folder / "each", change);
  for (const auto& tenant : all) expect_same_files(folder / "shared", folder / "each", tenant.name);
}

TEST_P(Grouped, ATenantWithNaNLeavesAndTheOthersAreUntouched) {
  const auto folder = test::scratch_folder();
  const auto all = tenants();
  for (const auto& tenant : all) train_alone(tenant, GetParam(), folder / "alone");
  // tenant-1's adapter overflows at its third step: every row of it is NaN from there on.
  Change change;
  auto broken = all;
  broken[1].train.optimizer.learning_rate = 1e30;
  broken[1].train.optimizer.max_gradient_norm = 0;
  broken[1].train.schedule.warmup_fraction = 0;
  const auto outcomes = train_together(broken, GetParam(), {5, 1024}, folder / "together", change);
  EXPECT_FALSE(outcomes[1].result);
  EXPECT_NE(outcomes[1].reason.find("tenant-1: step "), std::string::npos) << outcomes[1].reason;
  EXPECT_NE(outcomes[1].reason.find("is not finite"), std::string::npos) << outcomes[1].reason;
  EXPECT_FALSE(fs::exists(folder / "together/tenant-1/adapter"));
  for (const size_t i : {0U, 2U, 3U, 4U}) {
    ASSERT_TRUE(outcomes[i].result) << outcomes[i].reason;
    expect_same_files(folder / "alone", folder / "together", all[i].name);
  }
}

TEST_P(Grouped, BadDataQuarantinesItsTenantAlone) {
  const auto folder = test::scratch_folder();
  const auto all = tenants();
  for (const auto& tenant : all) train_alone(tenant, GetParam(), folder / "alone");
  Change change;
  change.batches = [](const Tenant& tenant) {
    check(tenant.name != "tenant-0", "tenant-0/shard-000.h5: is damaged");
    StepBatches batches = batches_of(tenant);
    if (tenant.name == "tenant-2")
      batches.step = [inner = batches.step](int64_t step) {
        auto micro = inner(step);
        if (step == 2) micro[0].tokens[0] = 64;  // one beyond the vocabulary
        return micro;
      };
    if (tenant.name == "tenant-4")
      batches.step = [inner = batches.step](int64_t step) {
        auto micro = inner(step);
        for (auto& batch : micro) batch.loss_weight.zero_();
        return micro;
      };
    return batches;
  };
  const auto outcomes = train_together(all, GetParam(), {2, 200}, folder / "together", change);
  EXPECT_EQ(outcomes[0].reason, "tenant-0/shard-000.h5: is damaged");
  EXPECT_NE(outcomes[2].reason.find("token id 64 is outside the model's vocabulary of 64"), std::string::npos)
      << outcomes[2].reason;
  EXPECT_NE(outcomes[4].reason.find("tenant-4: step 1: no token of its"), std::string::npos)
      << outcomes[4].reason;
  for (const size_t i : {1U, 3U}) {
    ASSERT_TRUE(outcomes[i].result) << outcomes[i].reason;
    expect_same_files(folder / "alone", folder / "together", all[i].name);
  }
}

// A disk that is full is nobody's fault in particular: all stop, and go on from their checkpoints afterwards.
TEST_P(Grouped, WhatStoppedGoesOnWithTheSameBytes) {
  const auto folder = test::scratch_folder();
  const auto all = tenants();
  for (const auto& tenant : all) train_alone(tenant, GetParam(), folder / "alone");
  int stops = 0;
  for (const int64_t stop_at : {0, 2, 4, 5, 9}) {
    Change change;
    change.batches = [stop_at](const Tenant& tenant) {
      StepBatches batches = batches_of(tenant);
      batches.step = [inner = batches.step, stop_at, name = tenant.name](int64_t step) {
        if (step == stop_at && name == "tenant-3") fail_try_again("no space left on device");
        return inner(step);
      };
      return batches;
    };
    try {
      train_together(all, GetParam(), {3, 200}, folder / "together", change);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Exit::kTryAgain);
      ++stops;
    }
  }
  EXPECT_GT(stops, 2);
  const auto outcomes = train_together(all, GetParam(), {4, 100}, folder / "together");
  for (size_t i = 0; i < all.size(); ++i) {
    ASSERT_TRUE(outcomes[i].result) << outcomes[i].reason;
    expect_same_files(folder / "alone", folder / "together", all[i].name);
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Grouped, ::testing::Values(Dtype::kFp32, Dtype::kBf16),
                         [](const auto& info) {
                           return std::string(info.param == Dtype::kFp32 ? "fp32" : "bf16");
                         });

TEST(GroupedTraining, RefusesAMemberThatTrainsTheBase) {
  const auto folder = test::scratch_folder();
  Decoder model = base(Dtype::kFp32);
  open_slots(model, 1);
  GroupMember m;
  m.name = "whole";
  m.batches = [] { return test::tiny_batches(); };
  m.config = test::tiny_config();
  m.folder = folder;
  m.attach = [&](int64_t) { return model.parameters(); };
  const auto outcomes = train_grouped({&model, [](int64_t, int64_t, int64_t) {}, [](int64_t) {}}, {m},
                                      next_token_losses, {1, 512});
  ASSERT_EQ(outcomes.size(), 1U);
  EXPECT_NE(outcomes[0].reason.find("is a weight of the base"), std::string::npos) << outcomes[0].reason;
}

TEST(GroupedTraining, JoinedBatchesAreTheirDocumentsInOrder) {
  const Batch a = make_batch({{1, 2, 3}, {4}}), b = make_batch({{5, 6}});
  const Batch joined = join_batches({&a, &b});
  EXPECT_TRUE(at::equal(joined.tokens, at::tensor({1, 2, 3, 4, 5, 6}, at::kLong)));
  EXPECT_TRUE(at::equal(joined.positions, at::tensor({0, 1, 2, 0, 0, 1}, at::kLong)));
  EXPECT_TRUE(at::equal(joined.document_starts, at::tensor({0, 3, 4, 6}, at::kInt)));
  EXPECT_EQ(joined.total_weight(), a.total_weight() + b.total_weight());
}

}  // namespace
}  // namespace decant
