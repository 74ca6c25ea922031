#include "compare.hpp"

#include <algorithm>

#include "report.hpp"

namespace jobyard::bench {
namespace {

struct Measured {
    double jobs_per_s = 0;
    double broker_us = 0;
    double us = 0;
};

Measured measure(const Contender& contender, std::size_t jobs) {
    const Process& broker = contender.yard.broker.process();
    const double broker_before = broker.cpu_seconds();
    const double before = contender.yard.cpu_seconds();
    const double rate = contender.yard.end_to_end(jobs, contender.make);
    const double us_per_job = 1e6 / static_cast<double>(jobs);
    return {rate, (broker.cpu_seconds() - broker_before) * us_per_job,
            (contender.yard.cpu_seconds() - before) * us_per_job};
}

}  // namespace

Comparison compare(const Contender& plain, const Contender& other, std::size_t jobs, unsigned rounds) {
    std::vector<double> rates, plain_rates, shares, broker_costs, plain_broker_costs, broker_ratios;
    std::vector<double> costs, plain_costs, ratios;
    Progress progress("comparing");
    for (unsigned round = 0; round < rounds; ++round) {
        progress.show(round, rounds, "rounds");
        const bool plain_first = round % 2 == 0;
        const Measured first = measure(plain_first ? plain : other, jobs);
        const Measured second = measure(plain_first ? other : plain, jobs);
        const Measured& a = plain_first ? first : second;
        const Measured& b = plain_first ? second : first;
        plain_rates.push_back(a.jobs_per_s);
        rates.push_back(b.jobs_per_s);
        shares.push_back(b.jobs_per_s / a.jobs_per_s);
        plain_broker_costs.push_back(a.broker_us);
        broker_costs.push_back(b.broker_us);
        broker_ratios.push_back(b.broker_us / a.broker_us);
        plain_costs.push_back(a.us);
        costs.push_back(b.us);
        ratios.push_back(b.us / a.us);
    }
    const auto [lowest, highest] = std::minmax_element(shares.begin(), shares.end());
    return {.jobs_per_s = median(rates),
            .plain_jobs_per_s = median(plain_rates),
            .share = median(shares),
            .share_min = *lowest,
            .share_max = *highest,
            .broker_us = median(broker_costs),
            .plain_broker_us = median(plain_broker_costs),
            .broker_ratio = median(broker_ratios),
            .us = median(costs),
            .plain_us = median(plain_costs),
            .ratio = median(ratios)};
}

}  // namespace jobyard::bench
