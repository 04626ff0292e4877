// The trainer's promises: kill and resume give the same bytes, another training is refused, NaN is named,
// signals save.
#include "train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <limits>
#include <set>
#include <string>

#include "core/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"
#include "tests/train/tiny_training.h"
#include "train/checkpoint.h"

namespace decant {
namespace {

namespace fs = std::filesystem;

// Runs the helper program; kills it after `microseconds` when that is not 0. Returns the wait status.
int run_tiny(const fs::path& folder, const char* dtype, const std::string& die_at,
             useconds_t microseconds = 0) {
  const std::string path = folder.string();
  const pid_t child = ::fork();
  if (child == 0) {
    const int null = ::open("/dev/null", O_WRONLY);
    ::dup2(null, 2);
    ::execl(DECANT_TRAIN_TINY, "train_tiny", path.c_str(), dtype, die_at.empty() ? nullptr : die_at.c_str(),
            nullptr);
    ::_exit(127);
  }
  if (microseconds > 0) {
    ::usleep(microseconds);
    ::kill(child, SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

bool finished(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
bool killed(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }

class Resume : public ::testing::TestWithParam<const char*> {};

TEST_P(Resume, AfterAKillAtAnyStepGivesTheSameBytes) {
  const auto folder = test::scratch_folder();
  ASSERT_TRUE(finished(run_tiny(folder / "whole", GetParam(), "")));
  const std::string weights = read_file(folder / "whole/weights.safetensors"),
                    metrics = read_file(folder / "whole/metrics.jsonl");
  ASSERT_EQ(std::count(metrics.begin(), metrics.end(), '\n'), 12);
  const auto killed_folder = folder / "killed";
  int kills = 0;
  for (const char* step : {"0", "2", "4", "5", "7", "9", "11"}) {
    if (std::string(step) == "7")
      fs::remove_all(killed_folder / "checkpoint");  // a lost checkpoint: from the start
    ASSERT_TRUE(killed(run_tiny(killed_folder, GetParam(), step))) << step;
    ++kills;
  }
  EXPECT_EQ(kills, 7);
  ASSERT_TRUE(finished(run_tiny(killed_folder, GetParam(), "")));
  EXPECT_EQ(read_file(killed_folder / "weights.safetensors"), weights);
  EXPECT_EQ(read_file(killed_folder / "metrics.jsonl"), metrics);
  // Finished already: nothing is trained again, and the result is the same.
  fs::remove(killed_folder / "weights.safetensors");
  ASSERT_TRUE(finished(run_tiny(killed_folder, GetParam(), "0")));
  EXPECT_EQ(read_file(killed_folder / "weights.safetensors"), weights);
}

TEST_P(Resume, AfterKillsAtRandomMomentsGivesTheSameBytes) {
  const auto folder = test::scratch_folder();
  ASSERT_TRUE(finished(run_tiny(folder / "whole", GetParam(), "")));
  int kills = 0, status = 0;
  for (int i = 0; i < 12; ++i) {
    const auto moment = static_cast<useconds_t>(
        20000 + 400000 * uniform(9, purpose_stream(Purpose::kTest, 0), static_cast<uint64_t>(i)));
    status = run_tiny(folder / "killed", GetParam(), "", moment);
    if (killed(status)) ++kills;
    if (finished(status)) fs::remove(folder / "killed/weights.safetensors");
  }
  EXPECT_GT(kills, 0);
  ASSERT_TRUE(finished(run_tiny(folder / "killed", GetParam(), "")));
  for (const char* file : {"weights.safetensors", "metrics.jsonl"})
    EXPECT_EQ(read_file(folder / "killed" / file), read_file(folder / "whole" / file)) << file;
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Resume, ::testing::Values("fp32", "bf16"),
                         [](const auto& info) { return std::string(info.param); });
INSTANTIATE_TEST_SUITE_P(Methods, Resume,
                         ::testing::Values("frozen-bf16", "lora-fp32", "dora-bf16", "dora-fp32",
                                           "lora_plus-bf16", "threads2-dora-bf16"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// The same training by every method is another one: the bytes above are not those of something that all
// share.
TEST(Methods, GiveOtherWeights) {
  const auto folder = test::scratch_folder();
  std::set<std::string> seen;
  for (const char* how : {"fp32", "frozen-fp32", "lora-fp32", "dora-fp32", "lora_plus-fp32"}) {
    ASSERT_TRUE(finished(run_tiny(folder / how, how, "")));
    seen.insert(read_file(folder / how / "weights.safetensors"));
  }
  EXPECT_EQ(seen.size(), 5U);
}

// What is promised of threads: a number of them gives its bytes again; two agree with one but for rounding.
TEST(Threads, ANumberOfThemGivesItsBytesAgain) {
  const int before = at::get_num_threads();
  auto json = test::tiny_model_config().source;
  json.update(Json{{"hidden_size", 128},
                   {"intermediate_size", 256},
                   {"vocab_size", 512},
                   {"max_position_embeddings", 512}});
  StepBatches batches;
  batches.steps_per_epoch = 4;
  batches.tokens_per_epoch = 4 * 700;
  batches.step = [](int64_t step) {
    std::vector<std::vector<int64_t>> documents(2);
    for (size_t d = 0; d < 2; ++d)
      for (uint64_t t = 0; t < 300 + 100 * d; ++t)
        documents[d].push_back(static_cast<int64_t>(
            512 * uniform(5, purpose_stream(Purpose::kTest, static_cast<uint64_t>(step)), 1000 * d + t)));
    return std::vector<Batch>{make_batch(documents)};
  };
  TrainConfig config = test::tiny_config();
  config.steps = 4;
  config.checkpoint_every = 0;
  for (const Dtype dtype : {Dtype::kFp32, Dtype::kBf16}) {
    const auto folder = test::scratch_folder();
    const auto run = [&](int threads, const char* name) {
      at::set_num_threads(threads);
      Decoder model = random_decoder(parse_model_config(json, "tiny"), dtype, 1);
      make_trainable(model);
      const TrainResult result =
          train(model, model.parameters(), batches, next_token_loss, config, folder / name);
      NamedTensors weights;
      for (const Parameter* p : model.parameters()) weights.emplace_back(p->name, p->value);
      write_tensors(folder / name / "weights.safetensors", weights);
      return result.last_loss;
    };
    const double one = run(1, "one"), two = run(2, "two");
    run(1, "one again");
    run(2, "two again");
    for (const char* name : {"one", "two"})
      for (const char* file : {"weights.safetensors", "metrics.jsonl"})
        EXPECT_EQ(read_file(folder / name / file), read_file(folder / concat(name, " again") / file))
            << name << file;
    EXPECT_NEAR(one / two, 1, dtype == Dtype::kFp32 ? 1e-5 : 1e-2);
  }
  at::set_num_threads(before);
}

Decoder tiny() {
  Decoder model = random_decoder(test::tiny_model_config(), Dtype::kFp32, 1);
  make_trainable(model);
  return model;
}

TEST(Trainer, RefusesToResumeAnotherTraining) {
  const auto folder = test::scratch_folder();
  Decoder model = tiny();
  TrainConfig config = test::tiny_config();
  const StepBatches batches = test::tiny_batches();
  train(model, model.parameters(), batches, next_token_loss, config, folder);
  const auto again = [&](const TrainConfig& changed) {
    Decoder other = tiny();
    train(other, other.parameters(), batches, next_token_loss, changed, folder);
  };
  TrainConfig changed = config;
  changed.optimizer.learning_rate = 0.02;
  EXPECT_ERROR(again(changed),
               "the setting was 'optimizer: learning_rate: 0.01', is now 'optimizer: learning_rate: 0.02'");
  changed = config;
  changed.steps = 13;
  EXPECT_ERROR(again(changed), "'steps: 13'");
  changed = config;
  changed.checkpoint_every = 5;  // does not affect results
  again(changed);
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  EXPECT_ERROR(again(config), "the machine (threads, instruction set) was");
  at::set_num_threads(threads);
  Decoder other = tiny();
  auto fewer = other.parameters();
  fewer.pop_back();
  EXPECT_ERROR(train(other, fewer, batches, next_token_loss, config, folder), "the set of trained tensors");
}

TEST(Trainer, NamesTheFirstTensorThatIsNotFinite) {
  Decoder model = tiny();
  model.layers[1].down.linears[0].weight.value[0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_ERROR(train(model, model.parameters(), test::tiny_batches(), next_token_loss, test::tiny_config(),
                     test::scratch_folder()),
               "train: step 1: the loss is not finite; first bad tensor: the weight "
               "'model.layers.1.mlp.down_proj.weight'; there is no checkpoint yet");
}

TEST(Trainer, NamesTheStepOfANanAndKeepsTheCheckpoint) {
  const auto folder = test::scratch_folder();
  Decoder model = tiny();
  const Objective objective = [calls = 0](Decoder& m, const Batch& batch, const at::Tensor& hidden,
                                          double scale, bool gradients) mutable {
    ObjectiveResult result = next_token_loss(m, batch, hidden, scale, gradients);
    if (++calls == 9) result.loss.d_hidden.fill_(std::numeric_limits<float>::infinity());
    return result;
  };
  EXPECT_ERROR(train(model, model.parameters(), test::tiny_batches(), objective, test::tiny_config(), folder),
               "train: step 5: the gradient norm is not finite; first bad tensor: the gradient of '");
  EXPECT_TRUE(find_checkpoint(folder).has_value());
  EXPECT_EQ(read_checkpoint_state(*find_checkpoint(folder)).step, 3);
}

TEST(Trainer, ASignalSavesAndAsksToTryAgain) {
  const auto folder = test::scratch_folder();
  const TrainConfig config = test::tiny_config();
  Decoder undisturbed = tiny();
  train(undisturbed, undisturbed.parameters(), test::tiny_batches(), next_token_loss, config,
        folder / "whole");
  {
    Decoder model = tiny();
    StepBatches batches = test::tiny_batches();
    batches.step = [inner = batches.step](int64_t step) {
      if (step == 4) ::raise(SIGTERM);
      return inner(step);
    };
    try {
      train(model, model.parameters(), batches, next_token_loss, config, folder / "stopped");
      FAIL() << "no Error";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Exit::kTryAgain);
      EXPECT_THAT(e.what(), ::testing::HasSubstr("stopped by SIGTERM after step 5 of 12"));
    }
  }
  Decoder model = tiny();
  const auto result =
      train(model, model.parameters(), test::tiny_batches(), next_token_loss, config, folder / "stopped");
  EXPECT_EQ(result.steps, 12);
  EXPECT_EQ(read_file(folder / "stopped/metrics.jsonl"), read_file(folder / "whole/metrics.jsonl"));
  const auto a = model.parameters(), b = undisturbed.parameters();
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i]->value, b[i]->value)) << a[i]->name;
}

TEST(Trainer, NoiseDependsOnTheStepAndNotOnTheSplit) {
  const auto run = [](double alpha, bool split, int64_t seed) {
    Decoder model = tiny();
    StepBatches batches = test::tiny_batches();
    batches.step = [split](int64_t) {
      const std::vector<int64_t> a = {1, 2, 3, 4, 5}, b = {6, 7, 8, 9};
      if (split) return std::vector<Batch>{make_batch({a}), make_batch({b})};
      return std::vector<Batch>{make_batch({a, b})};
    };
    TrainConfig config = test::tiny_config();
    config.steps = 3;
    config.noise_alpha = alpha;
    config.batch.seed = seed;
    return train(model, model.parameters(), batches, next_token_loss, config, test::scratch_folder())
        .last_loss;
  };
  EXPECT_NEAR(run(5, false, 0), run(5, true, 0), 1e-5);
  EXPECT_NE(run(5, false, 0), run(5, false, 1));
  EXPECT_NE(run(5, false, 0), run(0, false, 0));
}

TEST(Trainer, NoiseIsUniformAndAsLargeAsItsPaperSays) {
  Decoder model = tiny();
  Batch batch = make_batch({std::vector<int64_t>(50, 3), std::vector<int64_t>(14, 3)});
  const auto first_layer = [&] {
    Saved saved;
    saved.checkpoint = true;
    forward(model, batch, &saved);
    return saved.layers[0].input;
  };
  const at::Tensor clean = first_layer();
  batch.training = {{0, 64, 0, 0, 5.0, 1}};
  const at::Tensor noise = first_layer() - clean;
  for (const auto& [begin, length] : {std::pair<int64_t, int64_t>{0, 50}, {50, 14}}) {
    const double size = 5 / std::sqrt(static_cast<double>(length * 32));
    const at::Tensor own = noise.slice(0, begin, begin + length);
    EXPECT_LE(own.abs().max().item<double>(), size * 1.001);
    EXPECT_GE(own.abs().max().item<double>(), size * 0.95);
    EXPECT_NEAR(own.mean().item<double>(), 0, 0.1 * size);
    EXPECT_NEAR(own.std().item<double>(), size / std::sqrt(3.0), 0.05 * size);
  }
}

TEST(Trainer, FrozenWeightsStayAndTheRestTrains) {
  Decoder model = tiny(), before = tiny();
  freeze_matching(model, {"model\\.layers\\.0\\..*", ".*embed_tokens.*"}, "train.freeze");
  train(model, trainable_parameters(model), test::tiny_batches(), next_token_loss, test::tiny_config(),
        test::scratch_folder());
  const auto a = model.parameters(), b = before.parameters();
  int kept = 0, changed = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const bool frozen = a[i]->name.find("layers.0.") != std::string::npos ||
                        a[i]->name.find("embed_tokens") != std::string::npos;
    EXPECT_EQ(at::equal(a[i]->value, b[i]->value), frozen) << a[i]->name;
    ++(frozen ? kept : changed);
  }
  EXPECT_EQ(kept, 10);
  EXPECT_EQ(changed, 10);
  EXPECT_ERROR(freeze_matching(model, {"nothing"}, "train.freeze"),
               "'nothing' matches no weight of the model");
  EXPECT_ERROR(freeze_matching(model, {".*"}, "train.freeze"), "freezes every weight");
}

TEST(Trainer, RefusesAStepWithoutLossAndNothingToTrain) {
  Decoder model = tiny();
  StepBatches batches = test::tiny_batches();
  batches.step = [](int64_t) { return std::vector<Batch>{make_batch({{1, 2, 3}}, {{0, 0, 0}})}; };
  EXPECT_ERROR(
      train(model, model.parameters(), batches, next_token_loss, test::tiny_config(), test::scratch_folder()),
      "step 1: no token of its 3 has a loss weight");
  EXPECT_ERROR(train(model, {}, batches, next_token_loss, test::tiny_config(), test::scratch_folder()),
               "nothing is marked trainable");
}

TEST(Trainer, MastersComeBackForBf16) {
  Decoder model = random_decoder(test::tiny_model_config(), Dtype::kBf16, 1);
  make_trainable(model);
  const auto result = train(model, model.parameters(), test::tiny_batches(), next_token_loss,
                            test::tiny_config(), test::scratch_folder());
  const auto parameters = model.parameters();
  ASSERT_EQ(result.masters.size(), parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_EQ(result.masters[i].second.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::equal(result.masters[i].second.to(at::kBFloat16), parameters[i]->value));
  }
  EXPECT_LT(result.last_loss, 10);
  EXPECT_GT(result.tokens_per_second, 0);
}

}  // namespace
}  // namespace decant
