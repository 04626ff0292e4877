// Of the decisions: which turns of the documents that are trained on say a canned reply once too often
// (canned_replies.h). Their tokens keep their place and lose their loss weight; a document in which nothing
// is left to learn is left out.
#pragma once

#include "core/json.h"
#include "data_pipeline/corpus_config.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/decisions.h"

namespace decant {

// Tenant by tenant, of the month's documents before they are mixed; held-out ones are left alone. The new
// weights are those of the same conversation rendered with these turns at weight 0. Returns {tenant:
// {replies, occurrences, muted, list: [{"reply", "conversations", "count", "muted", "document", "turn"}]}}:
// the list is by falling count, `document` is the id of one that has the reply; no text.
Json decide_replies(const CorpusConfig& config, const CorpusJob& job, const StoreReader& store,
                    Decisions& decisions);

}  // namespace decant
