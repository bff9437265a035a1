/* A shared object that is no plugin. */
int clf_plugin_v0;
