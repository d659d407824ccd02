// What a worker is answering, for greend's question. Loop thread.
#pragma once

#include "common/request_list.h"
#include "daemon/http/server.h"
#include "python/runtime.h"

namespace green::worker {

RequestList report_requests(const http::Server& server, const python::SiteApplication& application);

}  // namespace green::worker
