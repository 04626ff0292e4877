#include "data_pipeline/source_config.h"

#include <algorithm>

#include "core/error.h"
#include "data_pipeline/conversation.h"

namespace decant {

namespace {

constexpr int64_t kMaxRecordBytes = int64_t{1} << 30;

}  // namespace

bool FieldMap::names_turns() const {
  return !(system.empty() && user.empty() && input.empty() && assistant.empty() && reasoning.empty() &&
           chosen.empty() && rejected.empty() && transcript.empty() && messages.empty());
}

void SourceConfig::validate(const Place& place) const {
  check(!paths.empty(), place("paths"), ": name at least one file, folder or glob");
  check(tenant.empty() || is_tenant_name(tenant), place("tenant"),
        ": must be 1 to 64 of a-z, 0-9 and '-', found '", tenant, "'");
  check(period.empty() || is_period(period), place("period"), ": must be YYYY-MM, found '", period, "'");
  check(delimiter.size() <= 1 && delimiter != "\"" && delimiter != "\n" && delimiter != "\r",
        place("delimiter"), ": must be one ASCII character other than a quote or a line end");
  check(max_record_bytes >= 1 && max_record_bytes <= kMaxRecordBytes, place("max_record_bytes"),
        ": must be 1 to ", kMaxRecordBytes, ", found ", max_record_bytes);
  check(max_expansion >= 1, place("max_expansion"), ": must be at least 1, found ", max_expansion);
  check(max_decoded_bytes >= 1, place("max_decoded_bytes"), ": must be at least 1, found ",
        max_decoded_bytes);
  const bool maps = format == RecordFormat::kFields;
  check(!maps || fields.names_turns(), place("fields"),
        ": say where the turns stand, such as {user: question, assistant: answer}");
  check(fields.chosen.empty() == fields.rejected.empty(), place("fields"),
        ": 'chosen' and 'rejected' belong together");
  check(fields.label.empty() || fields.chosen.empty(), place("fields"),
        ": 'label' is of one answer, not of a pair of 'chosen' and 'rejected'");
  const int ways = (fields.messages.empty() ? 0 : 1) + (fields.transcript.empty() ? 0 : 1) +
                   (fields.assistant.empty() ? 0 : 1) + (fields.chosen.empty() ? 0 : 1);
  const bool pair_of_messages = ways == 2 && !fields.messages.empty() && !fields.chosen.empty();
  check(ways <= 1 || pair_of_messages, place("fields"),
        ": name one of 'assistant', 'messages', 'transcript' and 'chosen' with 'rejected'");
  for (const auto& [name, role] : fields.roles) {
    const bool known =
        role == "system" || role == "user" || role == "assistant" || role == "tool" || role == "skip";
    check(known, place("fields"), ": the role of '", name,
          "' must be system, user, assistant, tool or skip, found '", role, "'");
  }
}

}  // namespace decant
