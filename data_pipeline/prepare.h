// The corpus step: conversations in, packed shards out, nothing lost without a reason on record.
//
// Three passes, each finished before the next and none repeated after a kill:
//   1 build_store   inputs -> store: read, checked, normalised, PII replaced, rendered, tokenized
//   2 decide        rows of the store -> one decision a document
//   3 write_corpus  store and decisions -> conversations, shards, lists, ledger, report
// Memory does not grow with the inputs but for some 100 bytes a document.
#pragma once

#include <filesystem>
#include <string>

#include "core/json.h"
#include "data_pipeline/build_store.h"
#include "data_pipeline/corpus_config.h"

namespace decant {

// Passes 2 and 3. Into `folder`: quarantine.jsonl, duplicates.jsonl, dropped.jsonl, canned_replies.jsonl,
// ledger.sqlite, decisions.bin, conversations/{train,held_out}/<tenant>.jsonl and
// shards/{train,held_out}/<tenant>/; what another corpus left there is removed, what a killed run of the same
// one finished is kept; contract.json, report.html, lineage.json and croissant.json last, and an Error with
// exit status 3 when the contract is broken. Returns the counts: {in, quarantined {reason: n}, duplicate, pii
// {kind: n}, merged_messages, trimmed_messages, kept, train, held_out, tokens, train_tokens, held_out_tokens,
// target_tokens, train_target_tokens, rows, packing, replayed, tenants {name: {in, train, held_out, replayed,
// tokens, train_tokens, held_out_tokens, target_tokens}}, sources {the same by the source's name, or the
// file's where it has none}, split, mix and canned_replies (decide_*.h; of each tenant's canned replies the
// ten commonest, canned_replies.jsonl has all)}; in = kept + duplicate + near_duplicate + all dropped + all
// quarantined. kept, train and held_out count the month's documents once each, and so do a source's numbers;
// a tenant's and the whole's tokens and rows count what is in the shards: copies, and the documents of
// earlier months that are replayed (after the month's in conversations/, too). pii counts what is kept.
// Quarantine reasons: those of record_parser.h and normalize.h, bad_tenant, duplicate_id, not_renderable,
// not_representable, too_long. A line has file, line, byte_offset, reason, text and the record (record_base64
// when it is not UTF-8, only record_bytes over 1 MiB) or, where the reason was found by comparing, the
// conversation. Error, after quarantine.jsonl is written, when more than max_bad_fraction is quarantined;
// Error when nothing is left to train on. The output depends on neither threads nor kills; the order of the
// inputs changes the order of lines, not what is kept.
Json finish_corpus(const CorpusConfig& config, const CorpusJob& job, const std::filesystem::path& store,
                   const std::filesystem::path& folder);

// All three, the store in `folder`/store.
Json prepare_corpus(const CorpusConfig& config, const CorpusJob& job, const std::filesystem::path& folder);
Json prepare_corpus(const CorpusConfig& config, const std::filesystem::path& base_folder,
                    const Tokenizer& tokenizer, const ChatTemplate& chat_template, const std::string& period,
                    const std::filesystem::path& folder);

}  // namespace decant
