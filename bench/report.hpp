#pragma once
// What every benchmark prints: one object, as a table for people or as JSON for machines, with what was measured and
// on what.

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace jobyard::bench {

using Json = nlohmann::ordered_json;

/// Percentiles by linear order statistics: {"p50","p90","p99","p999","p9999","max"}; those that `values` is too small
/// to have are left out. An empty list gives an empty object.
Json percentiles(std::vector<double> values);

/// The middle one, or the mean of the two in the middle. Not of an empty list.
double median(std::vector<double> values);

/// The median of a[i] / b[i], for what was measured in turns: what slowed a round slowed both.
double median_ratio(const std::vector<double>& a, const std::vector<double>& b);

/// What all results begin with: the benchmark's name, jobyard's version, durability, cores, processor, kernel, date.
Json heading(const std::string& benchmark);

/// One line for each member; objects in one line each, lists of objects as a table with a column for each member.
void print(const Json& result, bool as_json);

/// For people: what `rows` have in common is left to the heading; here each row becomes a column and each of its
/// members, also those of its objects, a line. Good where a row has many members.
void print_side_by_side(const Json& rows);

/// How far it is, on standard error: on a terminal a line that is written over by the next, else a line every ten
/// seconds. Says so, once, when nothing has happened for some time.
class Progress {
 public:
    explicit Progress(std::string what);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    /// To be called often, also when nothing has changed. `unit` follows the live rate ("jobs").
    void show(double done, double of, const char* unit);

 private:
    void clear();

    std::string what_;
    bool terminal_;
    double began_;
    double shown_at_ = 0;
    double shown_done_ = 0;
    double done_ = 0;
    bool looked_ = false;
    double moved_at_ = 0;  ///< when done_ last changed, or was first looked at
    bool complained_ = false;
    std::size_t width_ = 0;
};

}  // namespace jobyard::bench
