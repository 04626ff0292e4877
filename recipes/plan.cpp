// decant plan: what a run would do, and cost. Reads recipe, headers and tokenizer; starts nothing.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>

#include "data_pipeline/prepare.h"
#include "lora/attach.h"
#include "recipes/chain.h"
#include "recipes/memory.h"
#include "recipes/training.h"
#include "recipes/verbs.h"

namespace decant {

namespace {

namespace fs = std::filesystem;

// Share of the raw GEMM rate that training, scoring and generating tokens reach with all that is not a GEMM.
constexpr double kTrainShare = 0.35, kForwardShare = 0.4, kDecodeShare = 0.1;

// Multiply-adds a second (times two) of one GEMM of a usual shape, measured for a moment on this machine.
double gemm_rate(at::ScalarType dtype) {
  const at::Tensor a = at::ones({256, 1024}, dtype), b = at::ones({1024, 1024}, dtype);
  at::mm(a, b);
  const auto begin = std::chrono::steady_clock::now();
  double operations = 0, seconds = 0;
  while (seconds < 0.1) {
    at::mm(a, b);
    operations += 2.0 * 256 * 1024 * 1024;
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  return operations / seconds;
}

struct PlanLine {
  std::string step, what;
  double parameters = 0, trainable = 0, memory = 0, disk = 0, operations_seconds = 0;
};

std::string number(double value) {
  const char* units[] = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  while (value >= 1000 && unit < 4) value /= 1000, ++unit;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f%s" : "%.1f%s", value, units[unit]);
  return text;
}

std::string duration(double seconds) {
  char text[32];
  if (seconds < 90)
    std::snprintf(text, sizeof text, "%.0f s", std::max(1.0, seconds));
  else
    std::snprintf(text, sizeof text, "%.1f min", seconds / 60);
  return text;
}

class Planner {
 public:
  Planner(const LoadedRecipe& loaded, const ModelConfig& config)
      : loaded_(loaded), r_(loaded.recipe), config_(config), bytes_(0) {
    const Dtype dtype = compute_dtype(r_);
    element_ = dtype == Dtype::kBf16 ? 2 : 4;
    rate_ = gemm_rate(to_torch(dtype));
    if (r_.corpus)
      for (const auto& file : corpus_files(*r_.corpus, loaded.folder))
        bytes_ += static_cast<double>(fs::file_size(file.path));
  }

  std::vector<PlanLine> lines() {
    const double base = static_cast<double>(config_.parameters());
    std::vector<PlanLine> out;
    if (r_.model.random || fs::path(r_.model.path).extension() == ".gguf")
      out.push_back({"model", r_.model.random ? "random weights" : "GGUF to a Hugging Face folder", base, 0,
                     6 * base, 2 * base, base * 30 / rate_});
    if (r_.corpus)
      out.push_back({"corpus", number(bytes_) + "B of conversations", 0, 0, 5e8, 12 * bytes_, bytes_ / 2e6});
    if (r_.distill) add_distill(out, base);
    if (r_.train)
      out.push_back(training("train/model", r_.train->train, model(r_.train->model),
                             model(r_.train->model).parameters(), 0));
    if (r_.lora)
      for (const auto& job : adapter_jobs(*r_.lora, r_.lora->tenants)) {
        const ModelConfig of = model(r_.lora->model);
        out.push_back(
            training(job.step(), job.settings.train, of, lora_parameters(of, job.settings.lora), 0));
      }
    if (r_.evaluate) {
      const double models = 2 + 2 * r_.distill.has_value() + r_.train.has_value();
      const double tokens = models * static_cast<double>(r_.evaluate->tokens) *
                            std::max<size_t>(1, r_.lora ? r_.lora->tenants.size() : 1);
      out.push_back({"evaluate", number(tokens) + " tokens", base, 0, 2 * element_ * base, 1e5,
                     2 * base * tokens / (rate_ * kForwardShare)});
    }
    if (r_.export_) {
      const double of = static_cast<double>(model(released_model(r_)).parameters());
      const double copies = 1 + 0.8 * static_cast<double>(r_.export_->files.gguf.size());
      out.push_back(
          {"export", "release and its check", of, 0, 10 * of, 2 * of * copies, of * copies * 60 / rate_});
    }
    return out;
  }

  double rate() const { return rate_; }

 private:
  ModelConfig model(const std::string& name) const {
    const std::string ref = reference(name);
    if (ref == "distill") return student();
    if (ref == "train") return model(r_.train->model);
    if (ref == "model") return config_;
    return read_model_config(loaded_.resolve(name));
  }

  ModelConfig student() const { return student_config(config_, r_.distill->student); }

  double tokens_of(const TrainConfig& t) const {
    const double corpus = bytes_ / 3;  // about three bytes of JSON a token
    return t.steps > 0 ? static_cast<double>(t.steps * t.batch.tokens_per_step) : t.epochs * corpus;
  }

  // Its memory is in a table of its own.
  PlanLine training(const std::string& step, const TrainConfig& t, const ModelConfig& c, int64_t trainable,
                    double teacher) const {
    const double parameters = static_cast<double>(c.parameters()), trains = static_cast<double>(trainable);
    PlanLine line{step, number(tokens_of(t)) + " tokens", parameters, trains};
    line.disk = (trainable == c.parameters() ? element_ * parameters : 4 * trains) + 12 * trains;
    // Forward 2, backward of inputs 2, and of weights 2 for what trains.
    const double share = trainable == c.parameters() ? 6 : 4.2;
    line.operations_seconds = tokens_of(t) * (share * parameters + 2 * teacher) / (rate_ * kTrainShare);
    return line;
  }

  void add_distill(std::vector<PlanLine>& out, double base) const {
    const AnswersConfig& g = r_.distill->generate;
    if (g.answers > 0) {
      const auto answers = static_cast<double>(g.answers);
      const double tokens = answers * static_cast<double>(g.sampling.max_new_tokens);
      const double cache =
          2.0 * element_ *
          static_cast<double>(config_.num_hidden_layers * config_.key_heads() * config_.key_width());
      const double held = static_cast<double>(g.batch_size * r_.corpus->sequence_length) * cache;
      out.push_back(
          {"distill/rows",
           concat(std::llround(answers), " answers of at most ", g.sampling.max_new_tokens, " tokens"), base,
           0, element_ * base + held, 1e6, 2 * base * tokens / (rate_ * kDecodeShare)});
    }
    const ModelConfig c = student();
    out.push_back(training("distill/student", r_.distill->train, c, c.parameters(), base));
  }

  const LoadedRecipe& loaded_;
  const Recipe& r_;
  ModelConfig config_;
  double bytes_, element_ = 2, rate_ = 1;
};

// The parts of each training's peak, in MiB.
ReportSection memory_table(const std::vector<StepPlan>& plans) {
  ReportSection table{"memory, MiB",
                      {{"step", "program", "weights", "teacher", "optimizer", "checkpoint", "activations",
                        "scratch", "peak", "limit"}}};
  const auto mib = [](int64_t bytes) { return bytes > 0 ? std::to_string(mebibytes(bytes)) : "-"; };
  for (const auto& plan : plans) {
    const StepMemory& m = plan.memory;
    table.rows.push_back({plan.step, mib(m.process), mib(m.weights), mib(m.teacher), mib(m.state),
                          mib(m.saved), mib(m.kept), mib(m.scratch), mib(m.peak()), mib(plan.limit)});
  }
  return table;
}

Exit run_plan(const std::string& file, const std::vector<std::string>& overrides) {
  const LoadedRecipe loaded = load_recipe(file, overrides);
  const ModelConfig config = check_recipe(loaded);
  const auto trainings = plan_training(loaded, config, compute_dtype(loaded.recipe));
  Planner planner(loaded, config);
  ReportSection table{"plan", {{"step", "what", "parameters", "trainable", "memory", "disk", "time"}}};
  double disk = 0, seconds = 0, memory = 0;
  for (auto& line : planner.lines()) {
    for (const auto& plan : trainings)  // adapters that train side by side share one peak
      if (plan.step == line.step || (plan.section == "lora.train" && line.step.starts_with("lora/")))
        line.memory = static_cast<double>(plan.memory.peak());
    const auto count = [](double n) { return n > 0 ? number(n) : std::string("-"); };
    table.rows.push_back({line.step, line.what, count(line.parameters), count(line.trainable),
                          number(line.memory) + "B", number(line.disk) + "B",
                          duration(line.operations_seconds)});
    disk += line.disk;
    seconds += line.operations_seconds;
    memory = std::max(memory, line.memory);
  }
  table.rows.push_back({"all", "", "", "", number(memory) + "B", number(disk) + "B", duration(seconds)});
  print("# resolved recipe\n" + resolved_recipe(loaded));
  std::vector<ReportSection> report = {table};
  if (!trainings.empty()) report.push_back(memory_table(trainings));
  print(report_text(report));
  print(concat("\nrun directory: ", loaded.run_folder().string(), "\npredicted for ", at::get_num_threads(),
               " threads from a GEMM of ", number(planner.rate()),
               "FLOP/s measured now; memory is the step's peak. Nothing was started.\n"));
  for (const auto& plan : trainings)
    if (!plan.choice.empty()) print(concat(plan.step, ": ", plan.choice, "\n"));
  for (const auto& plan : trainings) check_plan(plan);
  return Exit::kFinished;
}

}  // namespace

void add_plan(CLI::App& app, Action& action) {
  auto* verb =
      app.add_subcommand("plan", "the resolved recipe, parameters, memory, disk and time; starts nothing");
  auto file = std::make_shared<std::string>();
  auto overrides = std::make_shared<std::vector<std::string>>();
  verb->add_option("RECIPE", *file, "YAML file")->required();
  verb->add_option("KEY=VALUE", *overrides, "settings that go before the recipe's");
  verb->callback([=, &action] { action = [=] { return run_plan(*file, *overrides); }; });
}

}  // namespace decant
