// Learning from judged answers: DPO (arXiv 2305.18290, with label smoothing, IPO arXiv 2310.12036 and an
// added likelihood term), ORPO (arXiv 2403.07691) and KTO (arXiv 2402.01306). Formulas as trl 1.16's
// trainers; what differs stands in docs/decisions/0015-preference-losses.md.
//
// Each of these losses is a function of the documents' log-probabilities, so its gradient is a number for
// each document times the gradient of that document's log-probability: two walks through the head (values,
// then gradients weighted by those numbers), and logits never exist.
//
// The loss of a step is the mean over its pairs (KTO: documents), whatever the split into micro-batches: what
// is about the whole step is put into its batches by with_references().
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "train/trainer.h"

namespace decant {

// Sums of weight * log p over each document of the batch [N], fp64.
std::vector<double> document_log_probabilities(const Decoder& model, const Batch& batch,
                                               const at::Tensor& hidden);

// What the reference says of each document of a batch: runs the model without its adapters.
using Reference = std::function<std::vector<double>(const Batch& batch)>;
Reference base_as_reference(Decoder& model);
// The model as it is now, for a full fine-tune: every document of an epoch is measured once, now, and kept in
// `file` (by a digest of its tokens), which is read when it is there already.
Reference stored_reference(Decoder& model, const StepBatches& batches, const std::filesystem::path& file);

// The same batches with Batch::preference filled. `reference` is not called for ORPO, which has none. For KTO
// `policy` gives the log-probabilities of the model that trains, for the estimate of the divergence. Error
// for a batch that has no pair (DPO, ORPO) or no judged document (KTO).
StepBatches with_references(StepBatches batches, const TrainConfig& config, Reference reference,
                            Reference policy);
// The log-probabilities of the model as it is at the call.
Reference model_as_policy(Decoder& model);

// The loss that config.objective names (next_token_loss for sft). Logged parts: rewards_chosen,
// rewards_rejected, reward_margin, reward_accuracy; kl for KTO, log_odds for ORPO, likelihood where it is
// part of the loss.
Objective make_objective(const TrainConfig& config);

}  // namespace decant
