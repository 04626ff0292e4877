// Of the decisions: what is withdrawn, how often each document is trained on, and which documents of earlier
// months are trained on once more (mix.h).
#pragma once

#include "core/json.h"
#include "data_pipeline/corpus_config.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/decide_split.h"
#include "data_pipeline/decisions.h"
#include "data_pipeline/earlier_corpora.h"

namespace decant {

// Leaves out what a rule of `mix.withdrawn` names and what is not valid in the job's month, on both sides:
// reasons withdrawn:<rule>, expired, not_yet_valid. Texts are read only where there are rules.
void withdraw(const CorpusConfig& config, const CorpusJob& job, const StoreReader& store,
              Decisions& decisions);

// Of the documents to train on: copies, or a reason of mix.h for leaving out; held-out ones are left alone.
// All documents of the inputs are the month's, whatever period a record names. Then the replay, of documents
// that their own month trained on and that
// - fit into a row, and are not in this month under the same id or with the same content;
// - are not the job's erasure's: neither customer nor record;
// - are not held out by this month's split (may_be_trained_on), nor withdrawn.
// A replayed document has the weights that its month gave it. Returns {"tenants": mix_summary(), "replayed":
// documents, "replay_left_out": {reason: documents}}, without those that the quota or their source's weight
// did not reach.
Json decide_mix(const CorpusConfig& config, const CorpusJob& job, const StoreReader& store,
                const EarlierCorpora& earlier, SplitLedgers& ledgers, Decisions& decisions);

}  // namespace decant
