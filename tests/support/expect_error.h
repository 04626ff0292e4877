// EXPECT_ERROR(statement, "part of the text"): the statement throws decant::Error whose message holds the
// part.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "core/error.h"

#define EXPECT_ERROR(statement, part)                                              \
  do {                                                                             \
    std::string decant_message;                                                    \
    try {                                                                          \
      statement;                                                                   \
      decant_message = "(no error)";                                               \
    } catch (const decant::Error& e) {                                             \
      decant_message = e.what();                                                   \
    }                                                                              \
    EXPECT_THAT(decant_message, ::testing::HasSubstr(part)) << "from " #statement; \
  } while (false)
