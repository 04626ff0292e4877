// Pages that people open: everything escaped, nothing from elsewhere, plots of what there is.
#include "core/html_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace decant {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(HtmlPage, EscapesWhatItIsGiven) {
  EXPECT_EQ(escape_html("<a href=\"x\">&</a>"), "&lt;a href=&quot;x&quot;&gt;&amp;&lt;/a&gt;");
  const std::string page = html_page_begin("<script>") + html_page_end();
  EXPECT_THAT(page, Not(HasSubstr("<script>")));
  EXPECT_THAT(page, Not(HasSubstr("http")));
}

TEST(LinePlot, DrawsPointsGapsAndNames) {
  const double nan = std::nan("");
  const std::string plot = line_plot(
      "loss <1>", "step", {{"a", {{0, 1.5}, {10, 0.5}, {20, nan}, {30, 1}}}, {"b & c", {{0, 1}, {30, 1}}}});
  EXPECT_THAT(plot, HasSubstr("loss &lt;1&gt;"));
  EXPECT_THAT(plot, HasSubstr("b &amp; c"));
  // The corners of the frame: (0, 1.5) above on the left; the point after the gap stands alone.
  EXPECT_THAT(plot, HasSubstr("points=\"80.0,12.0 286.7,212.0\""));
  EXPECT_THAT(plot, HasSubstr("<circle cx=\"700.0\" cy=\"112.0\""));
  EXPECT_EQ(std::count(plot.begin(), plot.end(), '\n'), 1 + 3 + 5 + 3 + 2 + 1 + 2);
}

TEST(LinePlot, IsEmptyWithoutAPointAndThinsLongLines) {
  EXPECT_EQ(line_plot("t", "x", {}), "");
  EXPECT_EQ(line_plot("t", "x", {{"a", {}}, {"b", {{1, std::nan("")}}}}), "");
  PlotLine line{"a", {}};
  for (int i = 0; i < 100000; ++i) line.points.emplace_back(i, i % 2);
  EXPECT_LT(line_plot("t", "x", {line}).size(), 20000U);
  EXPECT_THAT(line_plot("t", "x", {{"a", {{1, 5}}}}), HasSubstr("<circle"));  // one point
}

}  // namespace
}  // namespace decant
