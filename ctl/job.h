// What the verbs that start a job share: their options, and the report of how it ended.
#pragma once

#include "ctl/verb.h"

namespace green::ctl {

class JobOptions {
 public:
  void declare(CLI::App& command);
  Outcome<JobWait> wait() const;

 private:
  bool is_waiting_ = false;
  bool is_not_blocking_ = false;
  std::string timeout_;
};

/// Writes the outcome; fails with the job's message when it did not end well. `doing`: "reload".
Outcome<> report_job(Session& session, const std::string& site, std::string_view doing,
                     const JobOutcome& outcome);

}  // namespace green::ctl
