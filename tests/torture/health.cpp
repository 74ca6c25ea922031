#include "health.hpp"

#include <algorithm>
#include <cstdio>

namespace jobyard::torture {
namespace {

constexpr std::size_t kFewest = 5;  // samples of which a median says something

std::uint64_t median(std::vector<std::uint64_t> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

double mebibytes(std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

template <class... Values>
std::string sentence(const char* format, Values... values) {
    char text[400];
    std::snprintf(text, sizeof text, format, values...);
    return text;
}

class Judge {
 public:
    Judge(const std::vector<Sample>& samples, const Bounds& bounds) : samples_(samples), bounds_(bounds) {}

    Health judge() {
        health_.samples = samples_.size();
        judge_files();
        if (samples_.empty()) {
            health_.broken.emplace_back("there are no samples");
            return health_;
        }
        const std::int64_t began = samples_.front().us;
        const std::int64_t ended = samples_.back().us + 1;
        const std::int64_t half = began + (ended - began) / 2;
        const std::int64_t third = (ended - half) / 3;
        const std::vector<Sample> first = undisturbed(began, half);
        const std::vector<Sample> last = undisturbed(half, ended);
        const std::vector<Sample> before = undisturbed(half, half + third);
        const std::vector<Sample> after = undisturbed(ended - third, ended);
        health_.undisturbed = first.size() + last.size();
        if (std::min({first.size(), before.size(), after.size()}) < kFewest) {
            health_.broken.push_back(sentence(
                "too few samples without a fault near them: %zu in the first half, %zu and %zu in the last one's first "
                "and last third; %zu are wanted of each: let it run for longer",
                first.size(), before.size(), after.size(), kFewest));
            return health_;
        }
        judge_memory(half, before, after);
        judge_descriptors(before, after);
        judge_p99(first, last);
        return health_;
    }

 private:
    [[nodiscard]] std::vector<Sample> undisturbed(std::int64_t from, std::int64_t to) const {
        std::vector<Sample> found;
        for (const Sample& sample : samples_)
            if (sample.us >= from && sample.us < to && !sample.disturbed) found.push_back(sample);
        return found;
    }

    template <class T>
    static std::uint64_t median_of(const std::vector<Sample>& samples, T Sample::*field) {
        std::vector<std::uint64_t> values;
        values.reserve(samples.size());
        for (const Sample& sample : samples) values.push_back(sample.*field);
        return median(std::move(values));
    }

    void judge_files() {
        for (const Sample& sample : samples_) {
            health_.largest_store = std::max(health_.largest_store, sample.store_bytes);
            health_.largest_log = std::max(health_.largest_log, sample.log_bytes);
        }
        judge_size("the store", health_.largest_store, bounds_.store_bytes);
        judge_size("the commit log", health_.largest_log, bounds_.log_bytes);
    }

    void judge_size(const char* what, std::uint64_t largest, std::uint64_t bound) {
        if (largest > bound)
            health_.broken.push_back(sentence("%s has had %.1f MiB; with its limits it may have %.1f MiB", what,
                                              mebibytes(largest), mebibytes(bound)));
    }

    void judge_memory(std::int64_t half, const std::vector<Sample>& before, const std::vector<Sample>& after) {
        const auto in_last_half = [&](const Sample& sample) { return sample.us >= half; };
        const auto first = std::find_if(samples_.begin(), samples_.end(), in_last_half);
        if (std::any_of(first, samples_.end(), [&](const Sample& sample) { return sample.life != first->life; })) {
            health_.broken.emplace_back(
                "the broker was started again in the last half, in which nobody killed it: nothing can be said of its "
                "memory");
            return;
        }
        health_.memory_before = median_of(before, &Sample::memory_bytes);
        health_.memory_after = median_of(after, &Sample::memory_bytes);
        health_.memory_growth = 1.5 * (static_cast<double>(health_.memory_after) /
                                           static_cast<double>(std::max<std::uint64_t>(health_.memory_before, 1)) -
                                       1);
        if (health_.memory_growth >= bounds_.memory_growth)
            health_.broken.push_back(
                sentence("the broker's memory grew by %.2f %% in the last half, from %.2f MiB to %.2f MiB between the "
                         "middles of its first and last third; less than %.0f %% is allowed",
                         100 * health_.memory_growth, mebibytes(health_.memory_before), mebibytes(health_.memory_after),
                         100 * bounds_.memory_growth));
    }

    void judge_descriptors(const std::vector<Sample>& before, const std::vector<Sample>& after) {
        health_.descriptors_before = median_of(before, &Sample::descriptors);
        health_.descriptors_after = median_of(after, &Sample::descriptors);
        if (health_.descriptors_before != health_.descriptors_after)
            health_.broken.push_back(
                sentence("the broker had %llu descriptors in the first third of the last half and %llu in its last; "
                         "they must be as many",
                         static_cast<unsigned long long>(health_.descriptors_before),
                         static_cast<unsigned long long>(health_.descriptors_after)));
    }

    void judge_p99(std::vector<Sample> first, std::vector<Sample> last) {
        for (std::vector<Sample>* half : {&first, &last}) {
            std::erase_if(*half, [](const Sample& sample) { return sample.answers == 0; });
            if (half->size() >= kFewest) continue;
            health_.broken.emplace_back("in a half nearly no submit was answered: the load was not steady");
            return;
        }
        health_.p99_us_first = median_of(first, &Sample::p99_us);
        health_.p99_us_last = median_of(last, &Sample::p99_us);
        health_.p99_ratio = static_cast<double>(health_.p99_us_last) /
                            static_cast<double>(std::max<std::uint64_t>(health_.p99_us_first, 1));
        if (health_.p99_ratio > bounds_.p99_ratio)
            health_.broken.push_back(
                sentence("99 of 100 submits were answered within %.2f ms in the first half and "
                         "within %.2f ms in the last, %.2f times as long; %.1f times is allowed",
                         static_cast<double>(health_.p99_us_first) / 1e3,
                         static_cast<double>(health_.p99_us_last) / 1e3, health_.p99_ratio, bounds_.p99_ratio));
    }

    const std::vector<Sample>& samples_;
    const Bounds& bounds_;
    Health health_;
};

}  // namespace

Health judge_health(const std::vector<Sample>& samples, const Bounds& bounds) { return Judge(samples, bounds).judge(); }

}  // namespace jobyard::torture
