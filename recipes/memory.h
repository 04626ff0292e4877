// The memory of the steps that train, by the recipe: what each needs, the way of computing that fits the
// limit, and the refusal when none does.
//
// The order is that of what it costs in time: as the recipe says; smaller micro-batches (whole rows, halved
// until one is left); layers run again in backward; both. Smaller micro-batches change the rounding of
// results, so they are chosen only against a limit that the recipe states (`memory_mib`), from nothing but
// the recipe and the model: the same choice whatever else the machine does, and in a group the same as alone.
// They are part of the step's key. Running layers again changes no bit, and is chosen against what the
// machine has available, too.
#pragma once

#include <string>
#include <vector>

#include "recipes/chain.h"
#include "train/memory_plan.h"

namespace decant {

// One step that trains, and how it will run.
struct StepPlan {
  std::string step;     // "train/model"
  std::string section;  // of its TrainConfig in the recipe: "train", "distill.train", "lora.train"
  TrainConfig config;   // with the micro-batch and the recomputation that were chosen
  StepMemory memory = {};
  int64_t limit = 0;         // bytes; 0: not known
  bool stated = false;       // by the recipe
  std::string choice = {};   // what was chosen and why; empty: as the recipe says
  std::string refusal = {};  // why it cannot run; empty: it can
};

// What is known of a model: its config, and the dtype of its weights' file.
struct KnownModel {
  ModelConfig config;
  Dtype stored = Dtype::kBf16;
};

StepPlan plan_full(const LoadedRecipe& loaded, Dtype dtype, const KnownModel& model);
StepPlan plan_student(const LoadedRecipe& loaded, Dtype dtype, const KnownModel& teacher,
                      const ModelConfig& student);

// Adapters on one base: their settings with what was chosen for each, and how they share the base.
struct GroupPlan {
  StepPlan step;  // of all together; its config is that of the largest
  GroupConfig together;
  std::vector<AdapterJob> jobs;
};
GroupPlan plan_adapters(const LoadedRecipe& loaded, Dtype dtype, const KnownModel& base,
                        std::vector<AdapterJob> jobs);

// Of a model folder: its headers are read.
KnownModel known_model(const std::filesystem::path& folder);

// Error when the plan is a refusal: with exit status 75 when it is the machine's memory that is short.
void check_plan(const StepPlan& plan);
// The same, then the choice as a line of the log.
void accept_plan(const StepPlan& plan);

// The student's config: the teacher's with the recipe's layers.
ModelConfig student_config(const ModelConfig& teacher, const StudentConfig& student);

// Every step that trains, by the model that the recipe starts from; nothing but headers is read.
std::vector<StepPlan> plan_training(const LoadedRecipe& loaded, const ModelConfig& config, Dtype dtype);

// The compute dtype of a recipe.
Dtype compute_dtype(const Recipe& recipe);

}  // namespace decant
