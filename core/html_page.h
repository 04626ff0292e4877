// Static pages for people: no script, nothing from elsewhere, every text escaped.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace decant {

std::string escape_html(std::string_view text);  // for text and for attributes in double quotes

// The page up to its heading (the title), and its end.
std::string html_page_begin(std::string_view title);
std::string html_page_end();

// A line over rising x; points whose y is not finite are gaps.
struct PlotLine {
  std::string name;
  std::vector<std::pair<double, double>> points;
};
// A heading and the lines in one frame, as SVG. More than about a thousand points of a line are thinned to
// the means of neighbours. Empty when no line has a point.
std::string line_plot(const std::string& title, const std::string& x_label,
                      const std::vector<PlotLine>& lines);

}  // namespace decant
