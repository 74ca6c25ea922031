#include "chart.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>

namespace jobyard::torture {
namespace {

constexpr double kWidth = 960;
constexpr double kLeft = 64;
constexpr double kRight = 24;
constexpr double kTop = 84;
constexpr double kPanel = 110;  // the height of a picture
constexpr double kGap = 44;     // its title and the room around
constexpr const char* kText = "#1f2933";
constexpr const char* kFaint = "#7b8794";
constexpr const char* kStrong = "#0b6e4f";
constexpr const char* kSecond = "#8fb0d0";
constexpr const char* kBound = "#b44d12";

std::string number(double value, int digits = 1) {
    char text[40];
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}

std::string escape(const std::string& text) {
    std::string escaped;
    for (const char c : text) {
        if (c == '&') escaped += "&amp;";
        else if (c == '<') escaped += "&lt;";
        else if (c == '>') escaped += "&gt;";
        else escaped += c;
    }
    return escaped;
}

std::string text(double x, double y, const std::string& words, int size, const char* colour,
                 const char* anchor = "start") {
    return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" font-size=\"" + std::to_string(size) + "\" fill=\"" +
           colour + "\" text-anchor=\"" + anchor + "\">" + escape(words) + "</text>\n";
}

struct Line {
    std::function<double(const Sample&)> value;
    const char* colour;
};

struct Panel {
    std::string title;
    std::vector<Line> lines;
    double bound = 0;  ///< a line across; 0: none
    int digits = 1;
};

class Chart {
 public:
    Chart(const std::vector<Sample>& samples, const std::vector<Disturbance>& faults)
        : samples_(samples),
          faults_(faults),
          began_(samples.empty() ? 0 : samples.front().us),
          ended_(samples.empty() ? 1 : std::max(samples.back().us, began_ + 1)) {}

    std::string panel(const Panel& panel, double top) const {
        // What a fault does may be a thousand times what is usual: it leaves the picture at its upper edge.
        double most = panel.bound;
        for (const bool disturbed : {false, true})
            for (const Sample& sample : samples_)
                if (sample.disturbed == disturbed && (!disturbed || most == 0))
                    for (const Line& line : panel.lines) most = std::max(most, line.value(sample));
        most = most == 0 ? 1 : most * 1.15;
        const auto y = [&](double value) { return top + kPanel * (1 - std::min(value / most, 1.0)); };
        std::string out = text(kLeft, top - 8, panel.title, 13, kText);
        for (const Disturbance& fault : faults_) {
            const double from = x(std::max(fault.began, began_));
            const double to = x(std::min(fault.ended, ended_));
            out += "<rect x=\"" + number(from) + "\" y=\"" + number(top) + "\" width=\"" +
                   number(std::max(to - from, 1.0)) + "\" height=\"" + number(kPanel) + "\" fill=\"" +
                   colour(fault.kind) + "\" opacity=\"0.35\"><title>" + escape(fault.kind) + "</title></rect>\n";
        }
        out += "<rect x=\"" + number(kLeft) + "\" y=\"" + number(top) + "\" width=\"" +
               number(kWidth - kLeft - kRight) + "\" height=\"" + number(kPanel) +
               "\" fill=\"none\" stroke=\"#d5dbe1\"/>\n";
        for (const double part : {0.0, 0.5, 1.0})
            out += text(kLeft - 6, y(part * most) + 4, number(part * most, panel.digits), 11, kFaint, "end");
        out += rule(x(began_ + (ended_ - began_) / 2), top, x(began_ + (ended_ - began_) / 2), top + kPanel, kFaint);
        if (panel.bound > 0) out += rule(kLeft, y(panel.bound), kWidth - kRight, y(panel.bound), kBound);
        for (const Line& line : panel.lines) out += curve(line, y);
        return out;
    }

    std::string legend(double y) const {
        std::string out;
        double at = kLeft;
        std::vector<std::string> kinds;
        for (const Disturbance& fault : faults_)
            if (std::find(kinds.begin(), kinds.end(), fault.kind) == kinds.end()) kinds.push_back(fault.kind);
        for (const std::string& kind : kinds) {
            out += "<rect x=\"" + number(at) + "\" y=\"" + number(y - 10) +
                   "\" width=\"11\" height=\"11\" opacity=\"0.5\" fill=\"" + colour(kind) + "\"/>\n";
            out += text(at + 16, y, kind, 12, kFaint);
            at += 40 + 7 * static_cast<double>(kind.size());
        }
        return out;
    }

 private:
    [[nodiscard]] double x(std::int64_t us) const {
        return kLeft +
               (kWidth - kLeft - kRight) * static_cast<double>(us - began_) / static_cast<double>(ended_ - began_);
    }

    static std::string rule(double x1, double y1, double x2, double y2, const char* colour) {
        return "<line x1=\"" + number(x1) + "\" y1=\"" + number(y1) + "\" x2=\"" + number(x2) + "\" y2=\"" +
               number(y2) + "\" stroke=\"" + colour + "\" stroke-dasharray=\"4 4\"/>\n";
    }

    /// One for each life of the broker.
    [[nodiscard]] std::string curve(const Line& line, const std::function<double(double)>& y) const {
        std::string out;
        for (std::size_t i = 0; i < samples_.size();) {
            out += "<polyline fill=\"none\" stroke-width=\"1.4\" stroke=\"" + std::string(line.colour) + "\" points=\"";
            const int life = samples_[i].life;
            for (; i < samples_.size() && samples_[i].life == life; ++i)
                out += number(x(samples_[i].us)) + ',' + number(y(line.value(samples_[i]))) + ' ';
            out += "\"/>\n";
        }
        return out;
    }

    [[nodiscard]] const char* colour(const std::string& kind) const {
        static constexpr std::array kColours{"#e0b84c", "#c98bc9", "#e58f74", "#8d99ae", "#79b4a9"};
        std::vector<std::string> kinds;
        for (const Disturbance& fault : faults_)
            if (std::find(kinds.begin(), kinds.end(), fault.kind) == kinds.end()) kinds.push_back(fault.kind);
        const auto at = std::find(kinds.begin(), kinds.end(), kind) - kinds.begin();
        return kColours.at(static_cast<std::size_t>(at) % kColours.size());
    }

    const std::vector<Sample>& samples_;
    const std::vector<Disturbance>& faults_;
    const std::int64_t began_;
    const std::int64_t ended_;
};

}  // namespace

std::string draw(const std::vector<Sample>& samples, const std::vector<Disturbance>& faults, const Bounds& bounds,
                 const std::string& foot) {
    constexpr double kMi = 1 << 20;
    const auto mebi = [](std::uint64_t Sample::*field) {
        return [field](const Sample& sample) { return static_cast<double>(sample.*field) / kMi; };
    };
    const auto milli = [](std::uint64_t Sample::*field) {
        return [field](const Sample& sample) { return static_cast<double>(sample.*field) / 1e3; };
    };
    const std::vector<Panel> panels{
        {"The broker's own memory, MiB", {{mebi(&Sample::memory_bytes), kStrong}}},
        {"Its file descriptors",
         {{[](const Sample& sample) { return static_cast<double>(sample.descriptors); }, kStrong}},
         0,
         0},
        {"The store's file, MiB: its size, what is in use (light), and its bound (dashed)",
         {{mebi(&Sample::store_used_bytes), kSecond}, {mebi(&Sample::store_bytes), kStrong}},
         static_cast<double>(bounds.store_bytes) / kMi},
        {"Submit to answer, ms: 99 of 100, and half (light)",
         {{milli(&Sample::p50_us), kSecond}, {milli(&Sample::p99_us), kStrong}},
         0,
         2},
        {"Jobs a second", {{[](const Sample& sample) { return sample.jobs_per_s; }, kStrong}}, 0, 0},
    };
    const Chart chart(samples, faults);
    const double height = kTop + static_cast<double>(panels.size()) * (kPanel + kGap) + 20;
    std::string out = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + number(kWidth, 0) + "\" height=\"" +
                      number(height, 0) + "\" viewBox=\"0 0 " + number(kWidth, 0) + ' ' + number(height, 0) +
                      "\" font-family=\"system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif\">\n"
                      "<rect width=\"100%\" height=\"100%\" fill=\"#fcfcfb\"/>\n";
    const double minutes = samples.empty() ? 0 : static_cast<double>(samples.back().us - samples.front().us) / 60e6;
    out += text(kLeft, 30, "A soak run of " + number(minutes) + " minutes", 20, kText);
    out += chart.legend(52);
    double top = kTop;
    for (const Panel& panel : panels) {
        out += chart.panel(panel, top);
        top += kPanel + kGap;
    }
    out += text(kLeft, height - 20, foot, 12, kFaint);
    return out + "</svg>\n";
}

}  // namespace jobyard::torture
