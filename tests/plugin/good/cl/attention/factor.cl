/* A file of the plugin that another one includes. */
#define OWN_FACTOR 1.0f
