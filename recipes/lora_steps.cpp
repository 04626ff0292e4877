// The adapters: all tenants, and all candidates of a tenant, as one group over one base (train/grouped.h).
// Each adapter is a step of its own, since it depends on its tenant's rows and settings and on nobody else's.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "core/adapter_file.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "data_pipeline/tokenizer.h"
#include "lora/tenant_slots.h"
#include "recipes/held_out_probe.h"
#include "recipes/memory.h"
#include "recipes/open_model.h"
#include "recipes/possible_adapters.h"
#include "recipes/training.h"
#include "recipes/training_samples.h"
#include "train/grouped.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kAllTokens = INT64_MAX;

// The ids of the job's trainable tokens, rising.
void look_up_tokens(AdapterJob& job, const Tokenizer& tokenizer, const LoadedRecipe& loaded) {
  LoraConfig& lora = job.settings.lora;
  std::set<int64_t> ids;
  for (const auto& text : lora.trainable_tokens) {
    const auto id = tokenizer.id_of(text);
    check(id.has_value(), adapter_place(loaded, job, "trainable_tokens"), ": '", text,
          "' is no token of the model");
    ids.insert(*id);
  }
  lora.trainable_token_ids.assign(ids.begin(), ids.end());
}

StepKey key_of(const AdapterJob& job, const Chain& chain, const std::string& base_digest) {
  StepKey key{job.step(),
              1,
              config_key(job.settings.lora) + config_key(job.settings.train) +
                  quantization_key(*chain.recipe.lora) + chain.precision(),
              {}};
  key.inputs = {{"rows", digest_path(chain.shards("train", job.tenant))}, {"model", base_digest}};
  if (const fs::path start = start_adapter(chain.loaded, job); !start.empty())
    key.inputs["start"] = digest_path(start);
  if (!job.candidate.empty() || job.settings.train.probe.every > 0)
    key.inputs["held_out"] = digest_path(chain.shards("held_out", job.tenant));
  return key;
}

// Trains the jobs that are not done, side by side.
void train_jobs(Chain& chain, const std::vector<AdapterJob>& given) {
  const LoraSection& section = *chain.recipe.lora;
  const fs::path base = chain.model_of(section.model);
  const std::string base_digest = chain.digest_of(section.model);
  const ModelConfig config = read_model_config(base);
  const KnownModel known = known_model(base);
  // Micro-batches are a job's own and part of its key, whoever else is there.
  const auto jobs = plan_adapters(chain.loaded, chain.dtype, known, given).jobs;
  std::vector<AdapterJob> open;
  for (const auto& job : jobs)
    if (chain.begin("lora", key_of(job, chain, base_digest),
                    checkpoint_bytes(lora_parameters(config, job.settings.lora))))
      open.push_back(job);
  if (open.empty()) return;

  GroupPlan plan = plan_adapters(chain.loaded, chain.dtype, known, open);
  accept_plan(plan.step);
  open = std::move(plan.jobs);
  Decoder model = load_model(base, chain.dtype, adapter_base(section, base));
  const GroupConfig together = plan.together;
  open_slots(model, std::min<int64_t>(together.slots, static_cast<int64_t>(open.size())));
  const std::string base_sha256 = weights_sha256(base);
  std::vector<GroupMember> members;
  for (const AdapterJob& job : open) {
    GroupMember m;
    m.name = job.step();
    m.config = training_of(job);
    m.folder = chain.run.step_path(job.step());
    const auto slot_of = std::make_shared<int64_t>(0);
    const auto held_out = std::make_shared<HeldOut>(chain, std::vector<std::string>{job.tenant},
                                                    job.settings.train.probe.tokens);
    const auto samples = std::make_shared<TrainingSamples>(
        chain, std::vector<std::string>{job.tenant}, job.settings.train.samples, model.config, m.folder);
    m.batches = [&chain, &job, &model, slot_of] {
      const TrainConfig& settings = job.settings.train;
      auto batches = open_batches(chain.shards("train", job.tenant), settings.batch, chain.tokenizer_sha256(),
                                  chain.template_sha256(), answers_of(settings));
      return with_references(std::move(batches), settings, base_as_reference(model),
                             [&model, slot_of, policy = model_as_policy(model)](const Batch& batch) {
                               const SoleAdapter sole(model, *slot_of);
                               return policy(batch);
                             });
    };
    m.attach = [&model, &job, &chain, &base_sha256, slot_of, samples](int64_t slot) {
      *slot_of = slot;
      const auto start = read_start(job, chain, base_sha256);
      attach_to_slot(model, slot, job.settings.lora, start ? &*start : nullptr);
      {
        const SoleAdapter sole(model, slot);
        samples->take(model, kBefore);
      }
      return slot_parameters(model, slot);
    };
    m.probe = [&, held_out, samples](int64_t slot, int64_t step) {
      const SoleAdapter sole(model, slot);
      samples->take_at_probe(model, step);
      return held_out->measure(model);
    };
    m.finish = [&, samples, folder = m.folder](int64_t slot, const TrainResult& result) {
      const SoleAdapter sole(model, slot);
      samples->take(model, "after");
      write_adapter(folder / "adapter",
                    collect_adapter(model, job.settings.lora, base.string(), base_sha256, result.masters));
      Json figures = training_figures(result, job.step(), folder);
      figures["tenant"] = job.tenant;
      if (!job.candidate.empty()) {
        figures["candidate"] = job.candidate;
        figures["held_out_loss"] = HeldOut(chain, {job.tenant}, kAllTokens).measure(model)["held_out_loss"];
      }
      chain.finish(key_of(job, chain, base_digest), std::move(figures));
    };
    members.push_back(std::move(m));
  }
  const GroupedBase grouped{
      &model, [&](int64_t slot, int64_t begin, int64_t end) { set_slot_rows(model, slot, begin, end); },
      [&](int64_t slot) { clear_slot(model, slot); }};
  const TrainConfig& first = open.front().settings.train;
  const GroupObjective objective = first.objective == ObjectiveKind::kSft
                                       ? GroupObjective(next_token_losses)
                                       : each_segment(make_objective(first));
  std::string bad;
  int64_t count = 0;
  for (const auto& outcome : train_grouped(grouped, members, objective, together))
    if (!outcome.result) {
      bad += concat("\n  ", outcome.name, ": ", outcome.reason);
      ++count;
    }
  check(bad.empty(), "lora: ", count, " of ", members.size(),
        " adapters could not be trained, the others are done and kept; mend this and run the same command "
        "again:",
        bad);
}

// The best candidate's adapter becomes the tenant's.
void choose_candidate(Chain& chain, const std::string& tenant, const std::vector<AdapterJob>& jobs) {
  StepKey key{"lora/" + tenant, 1, "choose: lowest held-out loss\n", {}};
  for (const auto& job : jobs)
    if (job.tenant == tenant) key.inputs[job.candidate] = chain.digest_of_step(job.step());
  chain.step("lora", key, 1 << 20, [&](const fs::path& folder) {
    const AdapterJob* best = nullptr;
    Json losses;
    const auto loss_of = [&](const AdapterJob& job) {
      return chain.figures.at(job.step())["held_out_loss"].get<double>();
    };
    for (const auto& job : jobs) {
      if (job.tenant != tenant) continue;
      losses[job.candidate] = loss_of(job);
      if (best == nullptr || loss_of(job) < loss_of(*best)) best = &job;
    }
    check(best != nullptr, "lora/", tenant, ": no candidate was trained");
    fs::remove_all(folder / "adapter");
    fs::copy(chain.run.step_path(best->step()) / "adapter", folder / "adapter", fs::copy_options::recursive);
    Json figures = chain.figures.at(best->step());
    figures["held_out_losses"] = std::move(losses);
    log_info("lora/", tenant, ": candidate '", best->candidate, "' has the lowest held-out loss, ",
             loss_of(*best));
    return figures;
  });
}

}  // namespace

std::vector<AdapterJob> adapters_of(const Chain& chain, const std::vector<std::string>& tenants) {
  auto jobs = adapter_jobs(*chain.recipe.lora, tenants);
  std::unique_ptr<Tokenizer> tokenizer;
  for (AdapterJob& job : jobs) {
    if (job.settings.lora.trainable_tokens.empty()) continue;
    if (tokenizer == nullptr) tokenizer = load_tokenizer(chain.model_folder);
    look_up_tokens(job, *tokenizer, chain.loaded);
  }
  return jobs;
}

TrainConfig training_of(const AdapterJob& job) {
  TrainConfig config = job.settings.train;
  if (job.settings.lora.b_rate_ratio != 1)
    config.optimizer.groups.insert(config.optimizer.groups.begin(),
                                   {".*\\.lora_B\\.weight", job.settings.lora.b_rate_ratio, {}});
  return config;
}

std::optional<Adapter> read_start(const AdapterJob& job, const Chain& chain, const std::string& base_sha256) {
  const fs::path from = start_adapter(chain.loaded, job);
  if (from.empty()) return std::nullopt;
  Adapter start = read_adapter(from);
  check(start.config.base_sha256.empty() || start.config.base_sha256 == base_sha256, from.string(),
        ": was trained on another base than ", job.step(), " trains on");
  return start;
}

void lora_steps(Chain& chain) {
  const auto tenants = chain.adapter_tenants();
  const auto jobs = adapters_of(chain, tenants);
  train_jobs(chain, jobs);
  if (chain.recipe.lora->candidates.empty()) return;
  for (const auto& tenant : tenants) choose_candidate(chain, tenant, jobs);
}

}  // namespace decant
