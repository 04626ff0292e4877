#include "train/grouped.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <deque>
#include <memory>

#include "core/log.h"
#include "core/progress.h"
#include "train/speed.h"
#include "train/stop_signal.h"
#include "train/training_run.h"

namespace decant {

namespace {

// A member at work in a slot.
struct Active {
  size_t member = 0;
  std::unique_ptr<TrainingRun> run;
  size_t next = 0;      // micro-batch of its step in progress
  int64_t deficit = 0;  // tokens that it may take
  bool in_pass = false;

  const Batch& batch() const { return run->micro_batches().at(next); }
};

class Group {
 public:
  Group(const GroupedBase& base, const std::vector<GroupMember>& members, const GroupObjective& objective,
        const GroupConfig& config)
      : base_(base), members_(members), objective_(objective), config_(config) {
    for (size_t i = 0; i < members.size(); ++i) waiting_.push_back(i);
    outcomes_.resize(members.size());
    for (size_t i = 0; i < members.size(); ++i) outcomes_[i].name = members[i].name;
    slots_.resize(static_cast<size_t>(std::min<int64_t>(config.slots, static_cast<int64_t>(members.size()))));
  }

  std::vector<GroupOutcome> run() {
    const StopSignal stop_signal;
    rate_ = product_rate(*base_.model);
    Progress progress("train", static_cast<int64_t>(members_.size()), "members");
    while (fill_slots()) {
      pass();
      progress.update(done_, note(), begun());
      if (const int number = StopSignal::caught(); number != 0) stop(number == SIGINT ? "SIGINT" : "SIGTERM");
      if (std::any_of(slots_.begin(), slots_.end(),
                      [](const auto& one) { return one && one->run->time_is_up(); }))
        stop("most_minutes");
    }
    return std::move(outcomes_);
  }

 private:
  // Runs `work` for a member; an Error that is about it alone puts it into quarantine. The one place beside
  // main() that catches: a tenant's bad data must not take the others' work away.
  template <class Work>
  bool guarded(size_t slot, size_t member, const Work& work) {
    try {
      work();
      return true;
    } catch (const Error& e) {
      if (e.code() == Exit::kTryAgain) throw;
      outcomes_[member].reason = e.what();
      log_warning(members_[member].name, ": quarantined, the others go on: ", e.what());
    }
    leave(slot);
    return false;
  }

  void leave(size_t slot) {
    base_.clear(static_cast<int64_t>(slot));
    slots_[slot].reset();
    ++done_;
  }

  // Gives free slots to waiting members; false when nobody is left.
  bool fill_slots() {
    for (size_t slot = 0; slot < slots_.size(); ++slot)
      while (!slots_[slot] && !waiting_.empty()) {
        const size_t member = waiting_.front();
        waiting_.pop_front();
        start(slot, member);
      }
    return std::any_of(slots_.begin(), slots_.end(), [](const auto& one) { return one != nullptr; });
  }

  void start(size_t slot, size_t member) {
    const GroupMember& m = members_[member];
    guarded(slot, member, [&] {
      auto active = std::make_unique<Active>();
      active->member = member;
      const auto parameters = m.attach(static_cast<int64_t>(slot));
      const auto base = base_.model->parameters();
      for (const Parameter* p : parameters)
        check(std::find(base.begin(), base.end(), p) == base.end(), m.name, ": '", p->name,
              "' is a weight of the base, which trainings in a group share; train it alone");
      Probe probe;
      if (m.probe) probe = [&m, slot](int64_t step) { return m.probe(static_cast<int64_t>(slot), step); };
      active->run = std::make_unique<TrainingRun>(m.name, parameters, m.batches(), m.config, m.folder, probe);
      slots_[slot] = std::move(active);
      go_on(slot);
    });
  }

  // Takes the next step's data, or leaves after the last step.
  void go_on(size_t slot) {
    TrainingRun& run = *slots_[slot]->run;
    if (!run.begin_step()) return finish(slot);
    // Here and not in the pass, where an Error would be everybody's.
    for (const Batch& batch : run.micro_batches()) rope_for(*base_.model, check_batch(*base_.model, batch));
  }

  void finish(size_t slot) {
    Active& active = *slots_[slot];
    const TrainResult result = active.run->result();
    members_[active.member].finish(static_cast<int64_t>(slot), result);
    outcomes_[active.member].result = result;
    leave(slot);
  }

  // Deficit round robin: in each round every member may take a quantum more; a micro-batch goes into the pass
  // when its member may take it and it fits. A member has one micro-batch in a pass at most, so that a pass
  // never holds two parts of one tenant.
  std::vector<size_t> choose() {
    int64_t largest = 0;
    for (const auto& active : slots_)
      if (active) {
        active->in_pass = false;
        largest = std::max(largest, active->batch().size());
      }
    std::vector<size_t> chosen;
    int64_t tokens = 0;
    const size_t count = slots_.size(), first = turn_++ % count;
    for (size_t i = 0; i < count; ++i) {
      const size_t slot = (first + i) % count;
      if (!slots_[slot]) continue;
      Active& active = *slots_[slot];
      const int64_t size = active.batch().size();
      active.deficit =
          std::min(active.deficit + config_.tokens_per_pass, std::max(largest, config_.tokens_per_pass));
      if (active.deficit < size || (!chosen.empty() && tokens + size > config_.tokens_per_pass)) continue;
      active.deficit -= size;
      active.in_pass = true;
      tokens += size;
      chosen.push_back(slot);
    }
    std::sort(chosen.begin(), chosen.end());
    return chosen;
  }

  void pass() {
    const auto chosen = choose();
    if (chosen.empty()) return;  // a micro-batch larger than a quantum: its member saves up
    const auto begin = std::chrono::steady_clock::now();
    std::vector<const Batch*> batches;
    std::vector<GroupSegment> segments;
    int64_t row = 0;
    bool checkpoint = false;
    for (size_t slot = 0; slot < slots_.size(); ++slot)
      if (slots_[slot] && !slots_[slot]->in_pass) base_.set_rows(static_cast<int64_t>(slot), 0, 0);
    for (const size_t slot : chosen) {
      Active& active = *slots_[slot];
      const Batch& batch = active.batch();
      batches.push_back(&batch);
      segments.push_back({row, row + batch.size(), &batch, active.run->scale()});
      speed_.add({static_cast<double>(batch.size()),
                  training_flops(*base_.model, active.run->parameters(), batch), 0});
      base_.set_rows(static_cast<int64_t>(slot), row, row + batch.size());
      row += batch.size();
      checkpoint = checkpoint || active.run->config().checkpoint_activations == Recompute::kYes;
    }
    const Batch joined = batches.size() == 1 ? *batches.front() : join_batches(batches);
    Saved saved;
    saved.checkpoint = checkpoint;
    const at::Tensor hidden = forward(*base_.model, joined, &saved);
    const auto results = objective_(*base_.model, joined, segments, hidden);
    at::Tensor d_hidden = at::empty_like(hidden);
    std::vector<size_t> well;
    for (size_t i = 0; i < chosen.size(); ++i) {
      auto rows = d_hidden.slice(0, segments[i].begin, segments[i].end);
      Active& active = *slots_[chosen[i]];
      bool finite = false;
      const bool stays =
          guarded(chosen[i], active.member, [&] { finite = active.run->add(*base_.model, results[i]); });
      if (finite)
        rows.copy_(results[i].loss.d_hidden);
      else
        rows.zero_();
      if (!stays) continue;
      well.push_back(chosen[i]);
      if (!finite) active.next = active.run->micro_batches().size();  // the rest of the step is lost anyway
    }
    if (well.empty()) return;
    backward(*base_.model, joined, saved, d_hidden);
    speed_.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    for (const size_t slot : well) {
      Active& active = *slots_[slot];
      if (++active.next < active.run->micro_batches().size()) continue;
      active.next = 0;
      guarded(slot, active.member, [&] {
        active.run->end_step(*base_.model);
        go_on(slot);
      });
    }
  }

  // The members at work, by the share of their steps that is done.
  double begun() const {
    double sum = 0;
    for (const auto& active : slots_)
      if (active) sum += static_cast<double>(active->run->step()) / static_cast<double>(active->run->total());
    return sum;
  }

  std::string note() const {
    std::string text = speed_text(speed_, rate_);
    for (const auto& active : slots_)
      if (active)
        text +=
            concat(", ", members_[active->member].name, " ", active->run->step(), "/", active->run->total());
    return text;
  }

  [[noreturn]] void stop(const char* by) {
    size_t left = waiting_.size();
    for (const auto& active : slots_)
      if (active) {
        active->run->save();
        ++left;
      }
    fail_try_again("train: stopped by ", by, " with ", left, " of ", members_.size(),
                   " trainings unfinished; those that had begun are saved, the same command ",
                   "goes on from there");
  }

  const GroupedBase& base_;
  const std::vector<GroupMember>& members_;
  const GroupObjective& objective_;
  GroupConfig config_;
  std::deque<size_t> waiting_;
  std::vector<std::unique_ptr<Active>> slots_;
  std::vector<GroupOutcome> outcomes_;
  size_t turn_ = 0;
  Speed speed_;  // of all members, optimizer steps and measurements left out
  double rate_ = 0;
  int64_t done_ = 0;
};

}  // namespace

void GroupConfig::validate(const Place& place) const {
  check(slots >= 0 && slots <= 4096, place("slots"), ": must lie in 0 .. 4096, found ", slots);
  check(tokens_per_pass >= 1 && tokens_per_pass <= 1 << 24, place("tokens_per_pass"),
        ": must lie in 1 .. 16777216, found ", tokens_per_pass);
}

std::vector<ObjectiveResult> next_token_losses(Decoder& model, const Batch& pass,
                                               const std::vector<GroupSegment>& segments,
                                               const at::Tensor& hidden) {
  const Targets targets = next_token_targets(pass);
  std::vector<HeadSegment> parts;
  for (const auto& one : segments) parts.push_back({one.begin, one.end, one.scale});
  auto losses = segmented_cross_entropy(hidden, model.head(), targets.targets, targets.weights, parts, true,
                                        model.config.logit_cap);
  std::vector<ObjectiveResult> results(losses.size());
  for (size_t i = 0; i < losses.size(); ++i) results[i].loss = std::move(losses[i]);
  return results;
}

GroupObjective each_segment(Objective objective) {
  return [objective = std::move(objective)](Decoder& model, const Batch&,
                                            const std::vector<GroupSegment>& segments,
                                            const at::Tensor& hidden) {
    std::vector<ObjectiveResult> results;
    for (const auto& one : segments)
      results.push_back(objective(model, *one.batch, hidden.slice(0, one.begin, one.end), one.scale, true));
    return results;
  };
}

std::vector<GroupOutcome> train_grouped(const GroupedBase& base, const std::vector<GroupMember>& members,
                                        const GroupObjective& objective, const GroupConfig& config) {
  TORCH_INTERNAL_ASSERT(config.slots >= 1 && config.tokens_per_pass >= 1);
  if (members.empty()) return {};
  return Group(base, members, objective, config).run();
}

Batch join_batches(const std::vector<const Batch*>& batches) {
  TORCH_INTERNAL_ASSERT(!batches.empty());
  std::vector<at::Tensor> tokens, positions, weights;
  std::vector<int32_t> starts = {0};
  Batch joined;
  for (const Batch* batch : batches) {
    tokens.push_back(batch->tokens);
    positions.push_back(batch->positions);
    weights.push_back(batch->loss_weight);
    const auto* from = batch->document_starts.const_data_ptr<int32_t>();
    const int32_t offset = starts.back();
    for (TrainingRows rows : batch->training) {
      rows.begin += offset;
      rows.end += offset;
      joined.training.push_back(rows);
    }
    for (int64_t i = 1; i < batch->document_starts.numel(); ++i) starts.push_back(offset + from[i]);
  }
  joined.tokens = at::cat(tokens);
  joined.positions = at::cat(positions);
  joined.loss_weight = at::cat(weights);
  joined.document_starts = at::tensor(starts, at::kInt);
  return joined;
}

}  // namespace decant
