"""A model, a transform and a learning-rate schedule for ppclas, as an example of a plugin
package.
"""
