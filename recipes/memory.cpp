#include "recipes/memory.h"

#include <algorithm>
#include <map>
#include <memory>

#include "core/error.h"
#include "core/log.h"
#include "core/machine_memory.h"
#include "core/model/stored_quantization.h"
#include "core/name_pattern.h"
#include "core/tensor_file.h"
#include "lora/attach.h"
#include "recipes/open_model.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kMebibyte = int64_t{1} << 20;
constexpr int64_t kMeasuredTokens = 2048;  // of a forward on held-out text

// Tokens of a packed row.
int64_t row_of(const Recipe& recipe, const BatchConfig& batch) {
  return recipe.corpus ? recipe.corpus->sequence_length : batch.tokens_per_micro_batch;
}

// Tokens of the largest micro-batch: whole rows.
int64_t rows_of(const TrainConfig& config, int64_t row) {
  const int64_t room = std::min(config.batch.tokens_per_micro_batch, config.batch.tokens_per_step);
  return std::max(row, room / row * row);
}

// Micro-batches that are tried in turn.
std::vector<int64_t> micro_batches(const TrainConfig& config, int64_t row, bool stated) {
  std::vector<int64_t> sizes = {config.batch.tokens_per_micro_batch};
  if (!stated) return sizes;
  for (int64_t rows = rows_of(config, row) / row / 2; rows >= 1; rows /= 2) sizes.push_back(rows * row);
  return sizes;
}

std::vector<Recompute> recomputations(const TrainConfig& config) {
  if (config.checkpoint_activations != Recompute::kAuto) return {config.checkpoint_activations};
  return {Recompute::kNo, Recompute::kYes};
}

// Where a step may be made smaller, and what it would need then.
struct Alternative {
  std::string setting;
  std::function<int64_t()> needs;
};

std::string size(int64_t bytes) { return concat(mebibytes(bytes), " MiB"); }

std::string limit_name(const StepPlan& plan) {
  return plan.stated ? concat("'", plan.section, ".memory_mib'")
                     : std::string("what the machine has available");
}

std::string way(const TrainConfig& config, const TrainConfig& given) {
  std::string text;
  if (config.batch.tokens_per_micro_batch != given.batch.tokens_per_micro_batch)
    text = concat("micro-batches of ", config.batch.tokens_per_micro_batch, " tokens instead of ",
                  given.batch.tokens_per_micro_batch);
  if (config.checkpoint_activations == Recompute::kYes && given.checkpoint_activations != Recompute::kYes)
    text += concat(text.empty() ? "" : " and ", "layers run again in backward");
  return text;
}

void set_limit(StepPlan& plan) {
  plan.stated = plan.config.memory_mib > 0;
  if (plan.stated)
    plan.limit = plan.config.memory_mib * kMebibyte;
  else if (const auto free = static_cast<int64_t>(available_memory()); free > 0)
    plan.limit = free + static_cast<int64_t>(resident_memory());
}

void refuse(const LoadedRecipe& loaded, StepPlan& plan, const TrainConfig& given,
            const std::vector<Alternative>& alternatives) {
  const std::string least = way(plan.config, given);
  plan.refusal =
      concat(loaded.place(plan.section + ".memory_mib"), ": ", plan.step, " needs ", size(plan.memory.peak()),
             " (", describe(plan.memory), ")", least.empty() ? "" : concat(" even with ", least), ", but ",
             limit_name(plan), " is ", size(plan.limit));
  std::string fits, smallest;
  int64_t best = plan.memory.peak();
  for (const auto& one : alternatives) {
    const int64_t bytes = one.needs();
    if (bytes <= plan.limit) fits += concat(fits.empty() ? "" : ", or ", one.setting, " (", size(bytes), ")");
    if (bytes < best) {
      best = bytes;
      smallest = one.setting;
    }
  }
  if (!fits.empty())
    plan.refusal += concat("; what would fit: ", fits);
  else if (!smallest.empty())
    plan.refusal += concat("; the most that one setting saves is '", smallest, "', which needs ", size(best),
                           ": take a smaller model too, or allow more");
  else
    plan.refusal += "; take a smaller model, or allow more";
}

// The first way that fits the limit, or the last one and a refusal.
template <class Need>
void choose(const LoadedRecipe& loaded, StepPlan& plan, int64_t row, const Need& need,
            const std::function<std::vector<Alternative>(const TrainConfig&)>& alternatives) {
  const TrainConfig given = plan.config;
  set_limit(plan);
  int64_t as_given = -1;
  for (const Recompute again : recomputations(given))
    for (const int64_t tokens : micro_batches(given, row, plan.stated)) {
      plan.config.checkpoint_activations = again;
      plan.config.batch.tokens_per_micro_batch = tokens;
      plan.memory = need(plan.config);
      if (as_given < 0) as_given = plan.memory.peak();
      if (plan.limit > 0 && plan.memory.peak() > plan.limit) continue;
      if (const std::string chosen = way(plan.config, given); !chosen.empty())
        plan.choice = concat(chosen, ", because without it would need ", size(as_given), " and ",
                             limit_name(plan), " is ", size(plan.limit));
      return;
    }
  refuse(loaded, plan, given, alternatives(plan.config));
}

bool again(const TrainConfig& config) { return config.checkpoint_activations == Recompute::kYes; }

TrainingMemory common(Dtype dtype, const KnownModel& model, const TrainConfig& config, int64_t row) {
  TrainingMemory training;
  training.model = model.config;
  training.dtype = dtype;
  training.stored = model.stored;
  training.config = config;
  training.measured_tokens = std::max(row, kMeasuredTokens / row * row);
  return training;
}

// What does not fit as it is, as the smallest way that the code knows.
TrainConfig smallest(TrainConfig config, int64_t row) {
  config.checkpoint_activations = Recompute::kYes;
  config.batch.tokens_per_micro_batch = row;
  return config;
}

// What a training needs for rows of so many tokens.
using Needs = std::function<int64_t(const TrainConfig& config, int64_t row)>;

// Ways that every training has: the first ones to try, and the last.
std::vector<Alternative> smaller_passes(const std::string& section, const TrainConfig& c, int64_t row,
                                        const Needs& needs) {
  std::vector<Alternative> ways;
  const auto least = [=] { return needs(smallest(c, row), row); };
  if (rows_of(c, row) > row) ways.push_back({concat(section, ".batch.tokens_per_micro_batch=", row), least});
  if (c.checkpoint_activations == Recompute::kNo)
    ways.push_back({concat(section, ".checkpoint_activations=auto"), least});
  return ways;
}
Alternative shorter_rows(const TrainConfig& c, int64_t row, const Needs& needs) {
  return {concat("corpus.sequence_length=", row / 2), [=] { return needs(smallest(c, row / 2), row / 2); }};
}

StepPlan plan_weights(const LoadedRecipe& loaded, const std::string& step, const std::string& section,
                      const TrainConfig& config,
                      const std::function<TrainingMemory(const TrainConfig&)>& training_of, bool is_bf16) {
  StepPlan plan{step, section, config};
  const int64_t row = row_of(loaded.recipe, config.batch);
  const auto memory = [=](const TrainConfig& c, int64_t length) {
    return step_memory(training_of(c), {{rows_of(c, length)}, length, again(c)});
  };
  const auto needs = [=](const TrainConfig& c, int64_t length) { return memory(c, length).peak(); };
  choose(
      loaded, plan, row, [&](const TrainConfig& c) { return memory(c, row); },
      [&](const TrainConfig& c) {
        auto ways = smaller_passes(section, c, row, needs);
        const TrainConfig least = smallest(c, row);
        if (is_bf16 && c.optimizer.masters == Masters::kFp32) {
          TrainConfig rounding = least;
          rounding.optimizer.masters = Masters::kStochastic;
          ways.push_back(
              {concat(section, ".optimizer.masters=stochastic_bf16"), [=] { return needs(rounding, row); }});
        }
        if (c.optimizer.state == MomentState::kFp32) {
          TrainConfig codes = least;
          codes.optimizer.state = MomentState::kInt8;
          ways.push_back({concat(section, ".optimizer.state=int8"), [=] { return needs(codes, row); }});
        }
        ways.push_back(shorter_rows(c, row, needs));
        ways.push_back({"adapters (a section 'lora' of rank 16) in place of all weights", [=] {
                          TrainingMemory adapters = training_of(least);
                          adapters.trains = {};
                          adapters.adapters = {{[](const std::string&) { return int64_t{16}; }, false}};
                          return step_memory(adapters, {{row}, row, true}).peak();
                        }});
        return ways;
      });
  return plan;
}

}  // namespace

Dtype compute_dtype(const Recipe& recipe) {
  const Precision precision = recipe.model.dtype;
  return precision == Precision::kBf16   ? Dtype::kBf16
         : precision == Precision::kFp32 ? Dtype::kFp32
                                         : fastest_dtype();
}

KnownModel known_model(const fs::path& folder) {
  const TensorFile file(folder);
  return {read_model_config(folder),
          file.entry("model.embed_tokens.weight").dtype == "F32" ? Dtype::kFp32 : Dtype::kBf16};
}

ModelConfig student_config(const ModelConfig& teacher, const StudentConfig& student) {
  ModelConfig c = teacher;
  const auto& kept = student.keep_layers;
  c.num_hidden_layers = static_cast<int64_t>(kept.size());
  if (c.experts)
    c.experts->first_layer = std::count_if(kept.begin(), kept.end(),
                                           [&](int64_t layer) { return layer < c.experts->first_layer; });
  return c;
}

StepPlan plan_full(const LoadedRecipe& loaded, Dtype dtype, const KnownModel& model) {
  const TrainSection& section = *loaded.recipe.train;
  const int64_t row = row_of(loaded.recipe, section.train.batch);
  const auto training_of = [&, row](const TrainConfig& config) {
    TrainingMemory training = common(dtype, model, config, row);
    training.trains = [&](const std::string& name) {
      return std::none_of(section.freeze.begin(), section.freeze.end(), [&](const std::string& pattern) {
        return matches_whole(pattern, name, "train.freeze");
      });
    };
    return training;
  };
  return plan_weights(loaded, "train/model", "train", section.train, training_of, dtype == Dtype::kBf16);
}

StepPlan plan_student(const LoadedRecipe& loaded, Dtype dtype, const KnownModel& teacher,
                      const ModelConfig& student) {
  const DistillSection& section = *loaded.recipe.distill;
  const int64_t row = row_of(loaded.recipe, section.train.batch);
  const auto training_of = [&, row](const TrainConfig& config) {
    TrainingMemory training = common(dtype, {student, teacher.stored}, config, row);
    training.teacher = teacher.config;
    training.trains = [](const std::string&) { return true; };
    return training;
  };
  return plan_weights(loaded, "distill/student", "distill.train", section.train, training_of,
                      dtype == Dtype::kBf16);
}

namespace {

AdapterMemory adapter_memory(const LoraConfig& lora) {
  return {[lora, names = std::make_shared<AdapterConfig>(lora.adapter_config()),
           known = std::make_shared<std::map<std::string, int64_t>>()](const std::string& linear) {
            const auto found = known->find(linear);
            if (found != known->end()) return found->second;
            return (*known)[linear] = lora.adapts(linear) ? names->rank_of(linear) : 0;
          },
          lora.dora, lora.dropout > 0};
}

class Group {
 public:
  Group(const LoadedRecipe& loaded, Dtype dtype, const KnownModel& base)
      : loaded_(loaded), section_(*loaded.recipe.lora), dtype_(dtype), base_(base) {
    quantized_ = section_.quantize != Quantization::kNone
                     ? section_.quantize
                     : stored_quantization(base.config.source, "config.json");
    row_ = row_of(loaded.recipe, section_.train.batch);
  }

  // The job alone: decides its micro-batch.
  StepPlan alone(const AdapterJob& job) const {
    StepPlan plan{job.step(), "lora.train", job.settings.train};
    const auto memory = [this, &job](const TrainConfig& c, int64_t row, const LoraConfig& lora,
                                     Quantization quantized) {
      TrainingMemory training = training_of(c, quantized);
      training.adapters = {adapter_memory(lora)};
      training.measures = !job.candidate.empty();
      return step_memory(training, {{rows_of(c, row)}, row, again(c)});
    };
    choose(
        loaded_, plan, row_,
        [&](const TrainConfig& c) { return memory(c, row_, job.settings.lora, quantized_); },
        [&](const TrainConfig& c) { return alternatives(c, job.settings.lora, memory); });
    return plan;
  }

  // The first `slots` of the jobs, which are the largest, side by side.
  StepMemory together(const std::vector<AdapterJob>& jobs, int64_t slots, const GroupConfig& config,
                      bool recompute) const {
    const TrainConfig& first = jobs.front().settings.train;
    TrainingMemory training = training_of(first, quantized_);
    int64_t largest = 0;
    for (const auto& job : jobs) {
      largest = std::max(largest, rows_of(job.settings.train, row_));
      training.measures = training.measures || !job.candidate.empty() || job.settings.train.probe.every > 0;
    }
    constexpr int64_t kWalked = 32;  // a place more is like those before it
    const int64_t walked = std::min(slots, kWalked);
    for (int64_t i = 0; i < walked; ++i)
      training.adapters.push_back(adapter_memory(jobs.at(static_cast<size_t>(i)).settings.lora));
    const int64_t parts = std::clamp<int64_t>(config.tokens_per_pass / largest, 1, walked);
    StepMemory memory =
        step_memory(training, {std::vector<int64_t>(static_cast<size_t>(parts), largest), row_, recompute});
    memory.state += memory.state / walked * (slots - walked);
    return memory;
  }

 private:
  TrainingMemory training_of(const TrainConfig& config, Quantization quantized) const {
    TrainingMemory training = common(dtype_, base_, config, row_);
    training.quantized = quantized;
    return training;
  }

  template <class Memory>
  std::vector<Alternative> alternatives(const TrainConfig& c, const LoraConfig& lora,
                                        const Memory& memory) const {
    const Needs needs = [=, this](const TrainConfig& config, int64_t row) {
      return memory(config, row, lora, quantized_).peak();
    };
    auto ways = smaller_passes("lora.train", c, row_, needs);
    const TrainConfig least = smallest(c, row_);
    if (quantized_ == Quantization::kNone)
      ways.push_back(
          {"lora.quantize=nf4", [=, this] { return memory(least, row_, lora, Quantization::kNf4).peak(); }});
    if (lora.rank > 1) {
      LoraConfig half = lora;
      half.rank = std::max<int64_t>(1, lora.rank / 2);
      ways.push_back({concat("lora.rank=", half.rank),
                      [=, this] { return memory(least, row_, half, quantized_).peak(); }});
    }
    ways.push_back(shorter_rows(c, row_, needs));
    return ways;
  }

  const LoadedRecipe& loaded_;
  const LoraSection& section_;
  Dtype dtype_;
  const KnownModel& base_;
  Quantization quantized_;
  int64_t row_ = 0;
};

}  // namespace

GroupPlan plan_adapters(const LoadedRecipe& loaded, Dtype dtype, const KnownModel& base,
                        std::vector<AdapterJob> jobs) {
  TORCH_INTERNAL_ASSERT(!jobs.empty());
  const Group group(loaded, dtype, base);
  GroupPlan plan;
  plan.together = loaded.recipe.lora->together;
  // Rows for tokens stand in the base's matrices while they train, so that no two adapters do at one time.
  if (std::any_of(jobs.begin(), jobs.end(),
                  [](const AdapterJob& job) { return !job.settings.lora.trainable_tokens.empty(); }))
    plan.together.slots = 1;
  std::string choices;
  bool may = true;                        // nobody said that layers do not run again
  std::map<std::string, StepPlan> known;  // most tenants have the defaults
  for (auto& job : jobs) {
    may = may && job.settings.train.checkpoint_activations != Recompute::kNo;
    const std::string settings = write_config(job.settings) + (job.candidate.empty() ? "" : "measured");
    auto found = known.find(settings);
    if (found == known.end()) found = known.emplace(settings, group.alone(job)).first;
    const StepPlan& alone = found->second;
    job.settings.train = alone.config;
    if (choices.empty()) choices = alone.choice;
    if (plan.step.refusal.empty()) plan.step = alone;
  }
  plan.jobs = jobs;
  if (!plan.step.refusal.empty()) return plan;
  // The largest first: whoever takes a free place later needs no more.
  std::stable_sort(jobs.begin(), jobs.end(), [&](const AdapterJob& a, const AdapterJob& b) {
    return lora_parameters(base.config, a.settings.lora) > lora_parameters(base.config, b.settings.lora);
  });
  const auto most = static_cast<int64_t>(jobs.size());
  plan.step = {jobs.size() == 1 ? jobs[0].step() : "lora", "lora.train", loaded.recipe.lora->train};
  set_limit(plan.step);
  const int64_t limit = plan.step.limit, wanted = std::min(plan.together.slots, most);
  const bool must =
      std::any_of(jobs.begin(), jobs.end(), [](const AdapterJob& job) { return again(job.settings.train); });
  for (const bool recompute : {false, true}) {
    if (must && !recompute) continue;
    if (recompute && !may) continue;
    const auto need = [&](int64_t slots) { return group.together(jobs, slots, plan.together, recompute); };
    int64_t slots = wanted;
    if (slots == 0) {
      // What one place more costs is nearly the same for each.
      const int64_t one = need(1).peak(), two = most > 1 ? need(2).peak() : one;
      slots = limit == 0 || two == one
                  ? most
                  : std::clamp<int64_t>(1 + (limit - one) / std::max<int64_t>(1, two - one), 1, most);
      while (slots > 1 && limit > 0 && need(slots).peak() > limit) --slots;
    }
    plan.step.memory = need(slots);
    plan.together.slots = slots;
    for (auto& job : plan.jobs)
      job.settings.train.checkpoint_activations = recompute ? Recompute::kYes : Recompute::kNo;
    if (limit == 0 || plan.step.memory.peak() <= limit) {
      plan.step.choice = choices;
      if (choices.empty() && recompute && !must)
        plan.step.choice = concat("layers run again in backward, because ", slots,
                                  " adapters side by side would else not fit into ", size(limit));
      if (wanted == 0 && slots < most)
        plan.step.choice +=
            concat(plan.step.choice.empty() ? "" : "; ", slots, " of ", most,
                   " adapters at one time, because ", limit_name(plan.step), " is ", size(limit));
      return plan;
    }
  }
  plan.step.refusal = concat(
      loaded.place("lora.together.slots"), ": ", plan.together.slots, " adapters side by side need ",
      size(plan.step.memory.peak()), " (", describe(plan.step.memory), "), but ", limit_name(plan.step),
      " is ", size(limit), "; what would fit: lora.together.slots=0, which takes as many as memory holds");
  return plan;
}

void check_plan(const StepPlan& plan) {
  if (plan.refusal.empty()) return;
  if (plan.stated) fail(plan.refusal);
  fail_try_again(plan.refusal);
}

void accept_plan(const StepPlan& plan) {
  check_plan(plan);
  if (!plan.choice.empty()) log_info(plan.step, ": ", plan.choice);
  log_info(plan.step, ": ", size(plan.memory.peak()), " of memory at the peak, as planned");
}

std::vector<StepPlan> plan_training(const LoadedRecipe& loaded, const ModelConfig& config, Dtype dtype) {
  const Recipe& r = loaded.recipe;
  const std::function<KnownModel(const std::string&)> model = [&](const std::string& name) -> KnownModel {
    const std::string of = reference(name);
    if (of == "distill") return {student_config(config, r.distill->student), dtype};
    if (of == "train") return {model(r.train->model).config, dtype};
    if (of != "model") return known_model(loaded.resolve(name));
    const fs::path path = loaded.resolve(r.model.path);
    if (r.model.random || is_gguf(path)) return {config, Dtype::kBf16};
    return known_model(path);
  };
  std::vector<StepPlan> plans;
  if (r.distill) {
    const KnownModel teacher = model("@model");
    plans.push_back(plan_student(loaded, dtype, teacher, student_config(config, r.distill->student)));
  }
  if (r.train) plans.push_back(plan_full(loaded, dtype, model(r.train->model)));
  if (r.lora) {
    auto jobs = adapter_jobs(*r.lora, r.lora->tenants);
    if (!jobs.empty()) plans.push_back(plan_adapters(loaded, dtype, model(r.lora->model), jobs).step);
  }
  return plans;
}

}  // namespace decant
