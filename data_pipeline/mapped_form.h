// Records of one's own, read as the source's FieldMap says.
#pragma once

#include <vector>

#include "data_pipeline/record_fields.h"

namespace decant {

void mapped_form(RecordFields& fields, std::vector<Conversation>& out);

// Two conversations that share what they answer; see record_form.h.
void append_pair(Conversation shared, std::vector<Message> chosen, std::vector<Message> rejected,
                 std::vector<Conversation>& out);

}  // namespace decant
