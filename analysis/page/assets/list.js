"use strict";
setTimeout(() => location.reload(), 10000);
