#include "core/html_page.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace decant {

namespace {

constexpr const char* kStyle =
    "body{font:15px sans-serif;margin:2em auto;max-width:64em;color:#222}h1{font-size:1.5em}"
    "table{border-collapse:collapse;margin:.5em 0 1.5em}td,th{border-bottom:1px solid #ccc;padding:.2em .8em;"
    "text-align:left}td.n{text-align:right}.bad{background:#fdd}.doc{white-space:pre-wrap;font:13px "
    "monospace;"
    "border:1px solid #ddd;padding:.6em;margin:.3em 0 1.2em;overflow-wrap:anywhere}.doc "
    "span{border-right:1px "
    "solid #0001}svg{margin:.3em 0 1.2em}";
constexpr const char* kColours[] = {"#4a7ab5", "#c0533b", "#3f8f57", "#8a5fb0",
                                    "#b08a2e", "#4b9aa3", "#a0477a", "#6b6b6b"};
constexpr double kWidth = 620, kHeight = 200, kLeft = 80, kTop = 12, kBottom = 34, kRight = 170;
constexpr size_t kMostPoints = 1000;

std::string number(double value, const char* format = "%.4g") {
  char text[32];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<double, double>>& points) {
  if (points.size() <= kMostPoints) return points;
  const size_t step = (points.size() + kMostPoints - 1) / kMostPoints;
  std::vector<std::pair<double, double>> few;
  for (size_t i = 0; i < points.size(); i += step) {
    const size_t end = std::min(i + step, points.size());
    double x = 0, y = 0;
    for (size_t j = i; j < end; ++j) {
      x += points[j].first;
      y += points[j].second;
    }
    few.emplace_back(x / static_cast<double>(end - i), y / static_cast<double>(end - i));
  }
  return few;
}

struct Frame {
  double left = std::numeric_limits<double>::infinity(), right = -left, low = left, high = -left;

  void take(double x, double y) {
    left = std::min(left, x);
    right = std::max(right, x);
    low = std::min(low, y);
    high = std::max(high, y);
  }
  double at_x(double x) const { return kLeft + (right > left ? (x - left) / (right - left) : 0.5) * kWidth; }
  double at_y(double y) const { return kTop + (high > low ? (high - y) / (high - low) : 0.5) * kHeight; }
};

std::string text_at(double x, double y, const char* anchor, const std::string& text) {
  return "<text x=\"" + number(x, "%.1f") + "\" y=\"" + number(y, "%.1f") + "\" text-anchor=\"" + anchor +
         "\">" + escape_html(text) + "</text>\n";
}

std::string polylines(const std::vector<std::pair<double, double>>& points, const Frame& frame,
                      const char* colour) {
  std::string out, path;
  size_t in_path = 0;
  std::pair<double, double> last;
  const auto close = [&] {
    if (in_path > 1)
      out += std::string("<polyline fill=\"none\" stroke=\"") + colour + "\" stroke-width=\"1.5\" points=\"" +
             path + "\"/>\n";
    else if (in_path == 1)
      out += "<circle cx=\"" + number(frame.at_x(last.first), "%.1f") + "\" cy=\"" +
             number(frame.at_y(last.second), "%.1f") + "\" r=\"2\" fill=\"" + colour + "\"/>\n";
    path.clear();
    in_path = 0;
  };
  for (const auto& [x, y] : points) {
    if (!std::isfinite(y)) {
      close();
      continue;
    }
    path += (in_path > 0 ? " " : "") + number(frame.at_x(x), "%.1f") + "," + number(frame.at_y(y), "%.1f");
    last = {x, y};
    ++in_path;
  }
  close();
  return out;
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string html_page_begin(std::string_view title) {
  const std::string name = escape_html(title);
  return "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" + name +
         "</title>\n<style>" + kStyle + "</style></head><body>\n<h1>" + name + "</h1>\n";
}

std::string html_page_end() { return "</body></html>\n"; }

std::string line_plot(const std::string& title, const std::string& x_label,
                      const std::vector<PlotLine>& lines) {
  Frame frame;
  std::vector<std::vector<std::pair<double, double>>> drawn;
  for (const PlotLine& line : lines) {
    drawn.push_back(thinned(line.points));
    for (const auto& [x, y] : drawn.back())
      if (std::isfinite(y)) frame.take(x, y);
  }
  if (!(frame.right >= frame.left)) return {};
  std::string out = "<h3>" + escape_html(title) + "</h3>\n<svg width=\"" + number(kLeft + kWidth + kRight) +
                    "\" height=\"" + number(kTop + kHeight + kBottom) +
                    "\" font-family=\"sans-serif\" font-size=\"12\">\n<rect x=\"" + number(kLeft) +
                    "\" y=\"" + number(kTop) + "\" width=\"" + number(kWidth) + "\" height=\"" +
                    number(kHeight) + "\" fill=\"none\" stroke=\"#ccc\"/>\n";
  constexpr int kTicks = 4;
  for (int tick = 0; tick <= (frame.high > frame.low ? kTicks : 0); ++tick) {
    const double y = frame.high - (frame.high - frame.low) * tick / kTicks;
    out += text_at(kLeft - 6, frame.at_y(y) + 4, "end", number(y));
  }
  out += text_at(kLeft, kTop + kHeight + 16, "start", number(frame.left, "%.0f"));
  out += text_at(kLeft + kWidth, kTop + kHeight + 16, "end", number(frame.right, "%.0f"));
  out += text_at(kLeft + kWidth / 2, kTop + kHeight + 16, "middle", x_label);
  for (size_t i = 0; i < lines.size(); ++i) {
    const char* colour = kColours[i % std::size(kColours)];
    out += polylines(drawn[i], frame, colour);
    if (lines.size() == 1) continue;
    const double y = kTop + 12 + 16 * static_cast<double>(i);
    out += "<rect x=\"" + number(kLeft + kWidth + 10) + "\" y=\"" + number(y - 9) +
           "\" width=\"10\" height=\"10\" fill=\"" + colour + "\"/>" +
           text_at(kLeft + kWidth + 25, y, "start", lines[i].name);
  }
  return out + "</svg>\n";
}

}  // namespace decant
