// The walk of a step's tensors against the arena that a real step fills, for every method and family. Each
// training runs in a process of its own, whose arena holds nothing else.
#include "train/memory_plan.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/instruction_set.h"
#include "core/tensor_memory.h"
#include "distill/distill_loss.h"
#include "lora/attach.h"
#include "lora/tenant_slots.h"
#include "tests/support/family_configs.h"
#include "tests/support/shared.h"
#include "train/grouped.h"
#include "train/memory_walk.h"
#include "train/preference.h"

namespace decant {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kTokens = 512, kDocument = 128;

struct Case {
  std::string name;
  std::string family = "llama";
  Dtype dtype = Dtype::kFp32, stored = Dtype::kBf16;
  int64_t adapters = 0, together = 1;  // 0: all weights; how many share a pass
  bool dora = false, dropout = false, distill = false, again = false;
  Quantization quantized = Quantization::kNone;
  ObjectiveKind objective = ObjectiveKind::kSft;
  Masters masters = Masters::kFp32;
  MomentState moments = MomentState::kFp32;
  bool freeze = false;
  int64_t steps = 2, tokens = kTokens;
  bool overlaps = false;  // a checkpoint is written while the next step runs
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

ModelConfig config_of(const Case& c) {
  auto json = test::tiny_family(c.family);
  json.update(Json::parse(R"({"vocab_size": 3000, "hidden_size": 192, "intermediate_size": 512,
    "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 32,
    "max_position_embeddings": 1024})"));
  if (c.family == "qwen3") json["tie_word_embeddings"] = true;
  if (c.family == "deepseek_v3")
    json.update(Json::parse(R"({"num_key_value_heads": 6, "head_dim": 16, "q_lora_rank": 96,
      "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
      "moe_intermediate_size": 128})"));
  if (c.family == "gemma2") json["sliding_window"] = 64;
  return parse_model_config(json, "test");
}

LoraConfig lora_of(const Case& c) {
  LoraConfig lora;
  lora.rank = 8;
  lora.dora = c.dora;
  lora.dropout = c.dropout ? 0.1 : 0;
  if (c.family == "phi3") lora.targets = {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"};
  if (c.family == "deepseek_v3")
    lora.targets = {"q_a_proj",  "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj",
                    "gate_proj", "up_proj",  "down_proj"};
  return lora;
}

TrainConfig train_of(const Case& c) {
  TrainConfig config;
  config.steps = c.steps;
  config.checkpoint_every = c.overlaps ? 1 : c.steps;
  config.objective = c.objective;
  config.optimizer.masters = c.masters;
  config.optimizer.state = c.moments;
  config.checkpoint_activations = c.again ? Recompute::kYes : Recompute::kNo;
  return config;
}

StepBatches batches_of(const Case& c) {
  StepBatches batches;
  batches.steps_per_epoch = 1;
  std::vector<std::vector<int64_t>> documents(static_cast<size_t>(c.tokens / kDocument));
  for (auto& document : documents)
    for (int64_t t = 0; t < kDocument; ++t) document.push_back((7 * t + 11) % 3000);
  Batch batch = make_batch(documents);
  if (c.objective != ObjectiveKind::kSft) {
    const int64_t n = batch.document_starts.numel() - 1;
    batch.document_role = (at::arange(n) % 2 + 1).to(at::kByte);
    batch.document_pair = at::div(at::arange(n), 2, "floor");
  }
  batches.step = [batch](int64_t) { return std::vector<Batch>{batch}; };
  return batches;
}

bool frozen(const std::string& name) {
  return name.starts_with("model.layers.0.") || name.starts_with("model.layers.1.") ||
         name == "model.embed_tokens.weight";
}

// What the arena reaches over after the training.
int64_t measured(const Case& c, const fs::path& folder) {
  save_model(random_decoder(config_of(c), c.stored, 1), folder / "model", c.stored);
  if (!use_tensor_arena()) return 0;
  const TrainConfig config = train_of(c);
  if (c.distill) {
    const Decoder teacher = load_model(folder / "model", c.dtype);
    Decoder student = keep_layers(teacher, {0, 2, 4});
    make_trainable(student);
    const Objective objective = [&](Decoder& model, const Batch& batch, const at::Tensor& hidden,
                                    double scale, bool gradients) {
      DistillPart part = distill_loss(teacher, {}, model, batch, hidden, scale, gradients);
      return ObjectiveResult{{part.sum, part.weight, part.d_hidden}, {}};
    };
    train(student, trainable_parameters(student), batches_of(c), objective, config, folder / "out");
    return tensor_memory().held;
  }
  Decoder model = load_model(folder / "model", c.dtype, {c.quantized, {}});
  if (c.adapters == 0) {
    make_trainable(model);
    if (c.freeze)
      freeze_matching(model, {"model\\.layers\\.[01]\\..*", "model\\.embed_tokens\\.weight"}, "test");
    train(model, trainable_parameters(model), batches_of(c), make_objective(config), config, folder / "out");
    return tensor_memory().held;
  }
  open_slots(model, c.adapters);
  std::vector<GroupMember> members;
  for (int64_t i = 0; i < c.adapters; ++i) {
    GroupMember m;
    m.name = concat("adapter-", i);
    m.config = config;
    m.folder = folder / m.name;
    m.batches = [&] { return with_references(batches_of(c), config, base_as_reference(model), {}); };
    m.attach = [&](int64_t slot) {
      attach_to_slot(model, slot, lora_of(c));
      return slot_parameters(model, slot);
    };
    m.finish = [](int64_t, const TrainResult&) {};
    members.push_back(m);
  }
  const GroupedBase base{
      &model, [&](int64_t slot, int64_t begin, int64_t end) { set_slot_rows(model, slot, begin, end); },
      [&](int64_t slot) { clear_slot(model, slot); }};
  const GroupObjective objective = c.objective == ObjectiveKind::kSft ? GroupObjective(next_token_losses)
                                                                      : each_segment(make_objective(config));
  for (const auto& outcome : train_grouped(base, members, objective, {c.adapters, c.together * c.tokens}))
    if (!outcome.result) return -1;
  return tensor_memory().held;
}

StepMemory planned(const Case& c) {
  TrainingMemory training;
  training.model = config_of(c);
  training.dtype = c.dtype;
  training.stored = c.stored;
  training.quantized = c.quantized;
  training.config = train_of(c);
  training.digests = false;
  if (c.distill) {
    training.teacher = training.model;
    training.model.num_hidden_layers = 3;
  }
  if (c.adapters == 0)
    training.trains = [freeze = c.freeze](const std::string& name) { return !(freeze && frozen(name)); };
  for (int64_t i = 0; i < c.adapters; ++i)
    training.adapters.push_back(
        {[lora = lora_of(c)](const std::string& name) { return lora.adapts(name) ? lora.rank : 0; }, c.dora,
         c.dropout});
  return step_memory(training,
                     {std::vector<int64_t>(static_cast<size_t>(c.together), c.tokens), kDocument, c.again});
}

class Walk : public testing::TestWithParam<Case> {};

TEST_P(Walk, ReachesAsFarAsTheArenaOfTheStep) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "no arena under AddressSanitizer";
#endif
  const Case& c = GetParam();
  if (c.dtype == Dtype::kBf16 && instruction_set() == InstructionSet::kAmxBf16)
    GTEST_SKIP() << "what bf16 takes with AMX is not measured yet (docs/limitations.md)";
  const fs::path folder = test::scratch_folder();
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    at::set_num_threads(1);
    int64_t held = -1;
    try {
      held = measured(c, folder);
    } catch (const std::exception& e) {
      std::fprintf(stderr, "%s\n", e.what());
    }
    ::_exit(::write(ends[1], &held, sizeof held) == sizeof held ? 0 : 1);
  }
  ::close(ends[1]);
  int64_t held = 0;
  ASSERT_EQ(::read(ends[0], &held, sizeof held), static_cast<ssize_t>(sizeof held));
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  fs::remove_all(folder);
  if (held == 0) GTEST_SKIP() << "no arena under this limit";
  at::set_num_threads(1);
  const StepMemory plan = planned(c);
  const double ratio = static_cast<double>(plan.arena) / static_cast<double>(held);
  std::printf("%-28s planned %.1f MiB, measured %.1f MiB, %+.1f %%; %s\n", c.name.c_str(),
              static_cast<double>(plan.arena) / 1048576, static_cast<double>(held) / 1048576,
              100 * (ratio - 1), describe(plan).c_str());
  // How long a checkpoint's copy stays is a matter of the disk; the plan has it stay for the whole next step.
  EXPECT_LT(ratio, c.overlaps ? 1.5 : 1.05) << describe(plan);
  EXPECT_GT(ratio, 0.95) << "planned " << plan.arena << ", measured " << held << ": " << describe(plan);
}

std::vector<Case> cases() {
  const Dtype bf16 = Dtype::kBf16, fp32 = Dtype::kFp32;
  std::vector<Case> all;
  const auto add = [&](const std::string& name, const auto& change) {
    for (const Dtype dtype : {fp32, bf16}) {
      Case c;
      c.name = name + (dtype == bf16 ? "_bf16" : "_fp32");
      c.dtype = dtype;
      change(c);
      all.push_back(c);
    }
  };
  add("full", [](Case&) {});
  add("full_again", [](Case& c) { c.again = true; });
  add("full_saved_in_between", [](Case& c) { c.overlaps = true; });
  add("full_frozen", [](Case& c) { c.freeze = true; });
  add("full_odd_rows", [](Case& c) { c.tokens = 384; });
  add("stochastic", [](Case& c) { c.masters = Masters::kStochastic; });
  add("full_codes", [](Case& c) { c.moments = MomentState::kInt8; });
  add("lora", [](Case& c) { c.adapters = 1; });
  add("lora_codes", [](Case& c) { c.adapters = 1, c.moments = MomentState::kInt8; });
  add("lora_again", [](Case& c) { c.adapters = 1, c.again = true; });
  add("lora_dpo", [](Case& c) { c.adapters = 1, c.objective = ObjectiveKind::kDpo; });
  add("lora_stored_fp32", [](Case& c) { c.adapters = 1, c.stored = Dtype::kFp32; });
  add("dora", [](Case& c) { c.adapters = 1, c.dora = true; });
  add("dropout", [](Case& c) { c.adapters = 1, c.dropout = true; });
  add("dropout_again", [](Case& c) { c.adapters = 1, c.dropout = true, c.again = true; });
  add("int8", [](Case& c) { c.adapters = 1, c.quantized = Quantization::kInt8; });
  add("nf4", [](Case& c) { c.adapters = 1, c.quantized = Quantization::kNf4; });
  add("nf4_dq_again", [](Case& c) { c.adapters = 1, c.quantized = Quantization::kNf4Dq, c.again = true; });
  add("group", [](Case& c) { c.adapters = 3, c.together = 3, c.tokens = 256; });
  add("group_dropout", [](Case& c) { c.adapters = 3, c.together = 3, c.tokens = 256, c.dropout = true; });
  add("group_in_turn", [](Case& c) { c.adapters = 4; });
  add("distill", [](Case& c) { c.distill = true; });
  add("distill_again", [](Case& c) { c.distill = true, c.again = true; });
  for (const char* family : {"qwen2", "qwen3", "mistral", "gemma2", "phi3", "deepseek_v3"}) {
    add(concat(family, "_full"), [&](Case& c) { c.family = family; });
    add(concat(family, "_lora"), [&](Case& c) { c.family = family, c.adapters = 1; });
    add(concat(family, "_again"), [&](Case& c) { c.family = family, c.adapters = 1, c.again = true; });
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Memory, Walk, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace decant
